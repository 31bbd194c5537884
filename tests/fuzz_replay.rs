//! The inputs that fuzzing found worth keeping, in `fuzz/corpus`: none breaks its check, and none takes a second.

use std::path::Path;
use std::time::{Duration, Instant};

use farwire_tests::fuzz::TARGETS;

/// Far above what any input takes, even unoptimised and beside other tests.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

#[test]
fn every_kept_input_passes_its_check_in_time() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, check) in TARGETS {
        let files = std::fs::read_dir(corpus.join(target)).expect("each target has a corpus");
        let inputs: Vec<_> = files.map(|file| file.expect("a readable directory").path()).collect();
        assert!(!inputs.is_empty(), "{target} has no inputs");
        for path in inputs {
            let input = std::fs::read(&path).expect("a readable file");
            println!("{}", path.display());
            let start = Instant::now();
            check(&input);
            assert!(start.elapsed() < INPUT_TIME_MAX, "{target}: {:?}", start.elapsed());
        }
    }
}
