//! `bootstrap`: what Lambda starts. Everything is in the library; here only the environment is read.
#![forbid(unsafe_code)]

use workers_runtime::Settings;

fn main() {
    workers_runtime::run(&Settings::from_lookup(|name| std::env::var(name).ok()))
}
