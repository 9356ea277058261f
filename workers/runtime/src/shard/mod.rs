//! What happens to a batch's items between arrival and engine: cut over processes, prepared, run, answered one by one.

pub(crate) mod cut;
pub(crate) mod prepare;
pub(crate) mod run;
pub(crate) mod text;
