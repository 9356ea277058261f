//! `--name value` of a bench's command line; cargo's own `--bench` is left out.

use std::collections::BTreeMap;

pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    pub(crate) fn read() -> Self {
        let mut options = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if let Some(name) = word.strip_prefix("--").filter(|name| *name != "bench") {
                options.insert(name.to_owned(), words.next().unwrap_or_default());
            }
        }
        Self(options)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).map_or(default, |it| it.parse().unwrap())
    }
}
