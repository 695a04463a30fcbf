//! Runs a target with its seeds and with changed ones: the same ones each time, so that what fails once fails again.
//!
//! For machines without libFuzzer. Compiled into the tests of the crates whose parsers these are.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Longer inputs than a header line may be show nothing new.
const BYTES_MAX: usize = 4096;

/// xorshift64*: reproducible, and no crate.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        high as usize % end.max(1)
    }
}

/// Every seed of `name`, then `times` changed ones. An input that fails is printed.
pub fn replay(name: &str, times: usize, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut seeds: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a seed").path()).expect("a seed can be read"))
        .collect();
    // A folder has no order.
    seeds.sort();
    assert!(seeds.len() >= 3, "{name} has seeds");
    let run = |data: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(data))) {
            println!("{name} fails with {:?}", String::from_utf8_lossy(data));
            resume_unwind(panic);
        }
    };
    seeds.iter().for_each(|seed| run(seed));
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    for _ in 0..times {
        let mut data = seeds[chance.below(seeds.len())].clone();
        for _ in 0..=chance.below(4) {
            change(&mut data, &seeds, &mut chance);
        }
        data.truncate(BYTES_MAX);
        run(&data);
    }
}

fn change(data: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(data.len() + 1);
    let to = at + chance.below(data.len() - at + 1);
    match chance.below(6) {
        0 if at < data.len() => data[at] ^= 1 << chance.below(8),
        1 => data.insert(at, chance.below(256) as u8),
        2 => drop(data.drain(at..to)),
        3 => {
            let again = data[at..to].to_vec();
            data.splice(at..at, again);
        }
        4 => {
            // What parsers look for.
            let words = b",;=\"\\%*&?/-. \t\n\0";
            data.insert(at, words[chance.below(words.len())]);
        }
        _ => {
            let other = &seeds[chance.below(seeds.len())];
            let from = chance.below(other.len() + 1);
            data.splice(at..to, other[from..].iter().copied());
        }
    }
}
