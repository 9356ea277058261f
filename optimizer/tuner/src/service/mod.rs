//! The warm service time: what was observed of it, its shape, and what is believed.

pub mod belief;
pub mod cells;
pub mod knowledge;
pub mod memory_floor;
pub mod padding;
pub mod physics;
pub mod running;
