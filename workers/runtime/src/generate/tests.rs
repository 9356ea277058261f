//! Batched decoding against a decoder that sees every mistake: its next token follows from all tokens of a text and their places,
//! and it panics when a cache, a mask and positions do not belong together.

use proptest::prelude::*;
use workers_protocol::{Datatype, GenerationSpec, ItemErrorCode, ItemShapes, ModelManifest, Tensor};

use super::Generator;
use super::parameters::Parameters;
use super::round::Round;
use super::sequence::{Finish, Sequence};
use crate::engine::{Decoder, EngineError, Source, Step};
use crate::shard::text::TextEncoder;
use crate::wire::{Part, Shard};

const VOCABULARY: u32 = 17;
const STOP: u32 = 3;

/// Columns of one row: the token, or nothing where it is padding.
type Row = Vec<Option<u32>>;

#[derive(Default)]
struct Witness {
    /// Rows of each call.
    rows: Vec<usize>,
    /// Calls that fail, by number.
    fails_from: Option<usize>,
    /// A token that makes every call with it fail.
    poison: Option<u32>,
}

/// The token that follows a text.
fn follower(text: &[u32]) -> u32 {
    (1_u32..).zip(text).fold(7_u32, |state, (place, token)| {
        state.wrapping_mul(31).wrapping_add(token.wrapping_mul(place).wrapping_add(11))
    }) % VOCABULARY
}

impl Decoder for Witness {
    type Cache = Vec<Row>;

    fn read(&mut self, step: Step, cache: Option<Vec<Row>>) -> Result<(Vec<f32>, Vec<Row>), EngineError> {
        let mut cache = cache.unwrap_or_else(|| vec![Vec::new(); step.rows]);
        assert_eq!(cache.len(), step.rows, "a row each");
        let columns = cache[0].len() + step.width;
        assert_eq!(step.mask.len(), step.rows * columns);
        let mut logits = Vec::new();
        for (index, row) in cache.iter_mut().enumerate() {
            let mask = &step.mask[index * columns..(index + 1) * columns];
            let first_new = columns - step.width;
            assert!(row.iter().zip(mask).all(|(token, &counts)| token.is_some() == (counts == 1)), "cached");
            let mut place = row.iter().flatten().count();
            for column in 0..step.width {
                let at = index * step.width + column;
                let counts = mask[first_new + column] == 1;
                if counts {
                    assert_eq!(usize::try_from(step.positions[at]), Ok(place), "place in the text");
                    place += 1;
                }
                row.push(counts.then(|| u32::try_from(step.tokens[at]).unwrap()));
            }
            let text: Vec<u32> = row.iter().flatten().copied().collect();
            if self.poison.is_some_and(|poison| text.contains(&poison)) {
                return Err(EngineError::Run("poisoned".into()));
            }
            let next = follower(&text);
            logits.extend((0..VOCABULARY).map(|token| if token == next { 1.0 } else { 0.0 }));
        }
        self.rows.push(step.rows);
        match self.fails_from {
            Some(call) if self.rows.len() > call => Err(EngineError::Run("as asked".into())),
            _ => Ok((logits, cache)),
        }
    }

    fn gather(
        &mut self,
        caches: &[Vec<Row>],
        rows: &[Source],
        columns: usize,
    ) -> Result<Vec<Row>, EngineError> {
        let row = |source: &Source| {
            let from = &caches[source.cache][source.row];
            let own = &from[from.len() - source.length..];
            assert!(own.iter().all(Option::is_some), "only its own columns");
            assert!(from[..from.len() - source.length].iter().all(Option::is_none), "all of its own columns");
            let mut row = vec![None; columns - source.length];
            row.extend_from_slice(own);
            row
        };
        Ok(rows.iter().map(row).collect())
    }
}

fn spec(max_rows: u32) -> GenerationSpec {
    GenerationSpec { max_tokens: 8, max_tokens_limit: 64, max_rows, stop_tokens: vec![STOP] }
}

fn texts(items: &[(Vec<u32>, u32)]) -> Vec<Sequence> {
    let parameters = |max_tokens| Parameters { max_tokens, temperature: 0.0, seed: 0 };
    (0..)
        .zip(items)
        .map(|(item, (prompt, max_tokens))| Sequence::new(item, prompt.clone(), parameters(*max_tokens)))
        .collect()
}

/// The continuation of one text, without any of the machinery.
fn expected(prompt: &[u32], max_tokens: u32) -> (Vec<u32>, Finish) {
    let mut text = prompt.to_vec();
    for _ in 0..max_tokens {
        match follower(&text) {
            STOP => return (text.split_off(prompt.len()), Finish::Stop),
            token => text.push(token),
        }
    }
    (text.split_off(prompt.len()), Finish::Length)
}

fn run(decoder: &mut Witness, max_rows: u32, items: &[(Vec<u32>, u32)]) -> Vec<Sequence> {
    let spec = spec(max_rows);
    let mut round = Round::new(decoder, &spec, texts(items));
    let mut ended = Vec::new();
    while !round.is_done() {
        ended.extend(round.advance().unwrap());
    }
    let (work, padded) = (round.usage.work_units, round.usage.padded_units);
    let written: usize = ended.iter().map(|text| text.written.len()).sum();
    assert_eq!(round.usage.generated_tokens, written as u64);
    assert!(work <= padded, "{work} {padded}");
    ended.sort_by_key(|text| text.item);
    ended
}

proptest! {
    #[test]
    fn texts_are_continued_as_if_each_were_alone(
        items in prop::collection::vec((prop::collection::vec(0..VOCABULARY, 1..20), 1_u32..12), 1..24),
        max_rows in 1_u32..9,
    ) {
        let mut decoder = Witness::default();
        let ended = run(&mut decoder, max_rows, &items);
        prop_assert_eq!(ended.len(), items.len());
        for (text, (prompt, max_tokens)) in ended.iter().zip(&items) {
            let (written, finish) = expected(prompt, *max_tokens);
            prop_assert_eq!(&text.written, &written);
            prop_assert_eq!(text.finish, Some(finish));
        }
        prop_assert!(decoder.rows.iter().all(|&rows| rows <= max_rows as usize));
    }
}

#[test]
fn unfinished_texts_share_steps_and_finished_ones_leave() {
    let items: Vec<(Vec<u32>, u32)> = (1..=4).map(|limit| (vec![0, 5], limit)).collect();
    let endless = expected(&items[0].0, 4).0.len() == 4;
    assert!(endless, "this prompt does not meet the stop token");
    let mut decoder = Witness::default();
    run(&mut decoder, 8, &items);
    assert_eq!(decoder.rows, [4, 3, 2, 1], "one prefill of all, then a row less each time");
}

#[test]
fn waiting_texts_are_admitted_when_half_of_the_rows_are_free() {
    let items: Vec<(Vec<u32>, u32)> = [1, 1, 4, 4, 2, 2].map(|limit| (vec![0, 5], limit)).into();
    let mut decoder = Witness::default();
    run(&mut decoder, 4, &items);
    assert_eq!(
        decoder.rows[..3],
        [4, 2, 4],
        "two end at once, two others take their rows, then all four go on"
    );
}

#[test]
fn after_an_error_every_text_is_still_there() {
    let items: Vec<(Vec<u32>, u32)> = (1..=6).map(|limit| (vec![0, 5], limit)).collect();
    for fails_from in 0..6 {
        let mut decoder = Witness { fails_from: Some(fails_from), ..Witness::default() };
        let spec = spec(4);
        let mut round = Round::new(&mut decoder, &spec, texts(&items));
        let mut ended = Vec::new();
        while let Ok(more) = round.advance() {
            ended.extend(more);
        }
        ended.extend(round.into_texts());
        let mut found: Vec<u32> = ended.iter().map(|text| text.item).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4, 5], "failing from call {fails_from}");
    }
}

/// A generator over the witness, whose tokens are the words `0` to `16`.
fn generator(decoder: Witness) -> Generator<Witness> {
    let sha256 = "0".repeat(64);
    let manifest = format!(
        "name='m'\nversion='1'\nengine='onnxruntime'\nfile='f'\nsha256='{sha256}'\nmax_length=6\n\
         [[inputs]]\nname='text'\ndatatype='BYTES'\nshape=[-1]\n[[outputs]]\nname='text'\ndatatype='BYTES'\nshape=[1]\n\
         [tokenizer]\nfile='t'\nsha256='{sha256}'\ninput='text'\n\
         [generation]\nmax_tokens=4\nmax_tokens_limit=9\nmax_rows=4\nstop_tokens=[{STOP}]\n[work]\nunit='tokens'\n"
    );
    let manifest = ModelManifest::parse(&manifest).unwrap();
    let words: Vec<String> = (0..VOCABULARY).map(|token| format!("\"{token}\":{token}")).collect();
    let tokenizer = format!(
        "{{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,\
         \"pre_tokenizer\":{{\"type\":\"WhitespaceSplit\"}},\"post_processor\":null,\"decoder\":null,\
         \"model\":{{\"type\":\"WordLevel\",\"vocab\":{{{}}},\"unk_token\":\"0\"}}}}",
        words.join(",")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tokenizer).unwrap();
    let spec = manifest.generation.clone().unwrap();
    let text = TextEncoder::load(file.path(), Some(7)).unwrap();
    Generator::new(manifest, spec, decoder, text)
}

fn parts(generator: &mut Generator<Witness>, prompts: &[&str]) -> Vec<Part> {
    let element = |text: &&str| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat();
    let text = Tensor {
        name: "text".into(),
        datatype: Datatype::Bytes,
        item_shapes: ItemShapes::Same(vec![1]),
        data: prompts.iter().flat_map(element).collect::<Vec<u8>>().into(),
    };
    let shard = Shard { task: 5, items: u32::try_from(prompts.len()).unwrap(), inputs: vec![text] };
    let mut parts = Vec::new();
    let run = generator.run(&shard, |part| -> Result<(), ()> {
        parts.push(part);
        Ok(())
    });
    assert_eq!(run, Ok(()));
    assert!(parts.iter().all(|part| part.task == 5));
    let (last, others) = parts.split_last().unwrap();
    assert!(last.last && others.iter().all(|part| !part.last), "the last part is marked");
    parts
}

#[test]
fn texts_that_the_decoder_fails_on_cost_only_themselves() {
    let mut generator = generator(Witness { poison: Some(16), ..Witness::default() });
    let parts = parts(&mut generator, &["0 5", "16 1", "2 2 2", "0", "1 2 3 4 5 6 7"]);
    let mut answered: Vec<u32> = parts.iter().flat_map(|part| part.items.clone()).collect();
    answered.sort_unstable();
    let mut failed: Vec<_> =
        parts.iter().flat_map(|part| &part.errors).map(|(item, code, _)| (*item, *code)).collect();
    failed.sort_unstable_by_key(|(item, _)| *item);
    assert!(
        failed.contains(&(1, ItemErrorCode::ModelFailed))
            && failed.contains(&(4, ItemErrorCode::InvalidInput))
    );
    assert_eq!(answered.len() + failed.len(), 5, "each item once: {answered:?} {failed:?}");
    assert!(answered.contains(&0), "{failed:?}");
}

#[test]
fn shard_without_a_usable_prompt_is_answered_at_once() {
    let parts = parts(&mut generator(Witness::default()), &["", "1 2 3 4 5 6 7"]);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].errors.len(), 2);
}
