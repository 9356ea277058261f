//! What must hold of the formula as a whole.
