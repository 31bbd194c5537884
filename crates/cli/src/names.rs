//! Names from the command line, checked, and names of the mesh, looked up: one wording of each refusal for all commands.

use std::fmt::Display;

use farwire_client::{ChannelName, NameError, Pattern};

use crate::exit::Failure;

/// # Errors
/// Refused when the text breaks the rules of channel names.
pub(crate) fn channel(text: &str) -> Result<ChannelName, Failure> {
    ChannelName::parse(text).map_err(|err| refusal("channel", text, &err))
}

/// # Errors
/// Refused when the text breaks the rules of patterns.
pub(crate) fn pattern(text: &str) -> Result<Pattern, Failure> {
    Pattern::parse(text).map_err(|err| refusal("pattern", text, &err))
}

fn refusal(kind: &str, text: &str, err: &NameError) -> Failure {
    Failure::refused(format!("the {kind} \"{}\" is refused: {err}", text.escape_debug()))
}

/// Checks that the mesh has what `--region` or `--node` names; `kind` is one of the two.
///
/// # Errors
/// Wrong use, with the known ones listed.
pub(crate) fn check_known<T: PartialEq + Display>(kind: &str, wanted: Option<&T>, known: &[&T]) -> Result<(), Failure> {
    match wanted.filter(|wanted| !known.contains(wanted)) {
        None => Ok(()),
        Some(wanted) => {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            let known = known.join(", ");
            Err(Failure::usage(format!("--{kind} {wanted}: the mesh has no such {kind}; it has {known}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_bad_name_is_refused_with_its_control_characters_made_visible() {
        for refusal in [channel("a.\x1b").map(drop), pattern("a\x1b*").map(drop)] {
            let refusal = refusal.expect_err("a bad name");
            assert!(refusal.exit == Exit::Refused && refusal.message.contains(r"\u{1b}"), "{refusal}");
        }
    }
}
