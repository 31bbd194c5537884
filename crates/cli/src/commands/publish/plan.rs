//! From the flags of `farwire pub` to what is to be done: every rule about which flags go together is kept here, before anything is dialled.

use std::hash::Hasher;

use bytes::Bytes;
use farwire_client::{AckLevel, ChannelName, ConnectOptions, PublisherId, WireError};
use farwire_wire::limits::PAYLOAD_BYTES_MAX;
use siphasher::sip::SipHasher13;

use super::Args;
use super::fields::Fields;
use super::pace::Pace;
use crate::exit::Failure;
use crate::names;

/// What is to be published.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) destination: Destination,
    pub(super) input: Input,
    pub(super) pace: Pace,
    /// Given when the k-th message of a channel shall have the number k, whoever runs this.
    pub(super) publisher: Option<PublisherId>,
    /// `None`: what the channel is for.
    pub(super) level: Option<AckLevel>,
    /// By datagram, without an ack.
    pub(super) datagram: bool,
}

/// Where messages go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// All to one channel.
    Channel(ChannelName),
    /// Each to the channel that one of its fields names.
    Field {
        /// What stands before the field's value.
        prefix: String,
        /// The name of the field.
        field: String,
    },
}

/// Where messages come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The command line.
    Message(Bytes),
    /// All of stdin is one message.
    Stdin,
    /// Each line of stdin is a message.
    Lines,
}

impl Plan {
    /// # Errors
    /// Wrong use when flags do not go together, refused when a name or size breaks its rules or an option is not built yet.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        if args.key.is_some() {
            return Err(Failure::not_built_yet("--key"));
        }
        let (destination, message) = args.positionals()?;
        if args.lines && message.is_some() {
            return Err(Failure::usage("a MESSAGE and --lines do not go together: --lines reads messages from stdin"));
        }
        let input = match message {
            Some(text) => Input::Message(checked_size(text)?),
            None if args.lines => Input::Lines,
            None => Input::Stdin,
        };
        let publisher = args.publisher.as_deref().map(publisher_of);
        let level = args.ack.map(AckLevel::from);
        Ok(Self { destination, input, pace: args.pace(), publisher, level, datagram: args.datagram })
    }
}

impl Plan {
    /// The options of the client that publishes it.
    pub(super) fn adjust(&self, mut options: ConnectOptions) -> ConnectOptions {
        if let Some(publisher) = self.publisher {
            options = options.publisher(publisher);
        }
        if let Some(level) = self.level {
            options = options.ack_level(level);
        }
        options.in_flight_max(IN_FLIGHT_MAX)
    }
}

impl Args {
    /// With `--channel-field` the one positional that may be there is the message.
    fn positionals(&self) -> Result<(Destination, Option<&str>), Failure> {
        let (first, second) = (self.channel.as_deref(), self.message.as_deref());
        match (&self.channel_field, first, second) {
            (Some(_), _, Some(_)) => {
                Err(Failure::usage("a CHANNEL and --channel-field do not go together: the field names the channel"))
            }
            (Some(field), message, None) => {
                let prefix = self.channel_prefix.clone().unwrap_or_default();
                Ok((Destination::Field { prefix, field: field.clone() }, message))
            }
            (None, Some(channel), message) => Ok((Destination::Channel(names::channel(channel)?), message)),
            (None, None, _) => Err(Failure::usage("give the CHANNEL to publish to, or --channel-field FIELD")),
        }
    }

    fn pace(&self) -> Pace {
        match (self.rate, &self.replay) {
            (Some(rate), _) => Pace::Rate(rate),
            (None, Some(replay)) => Pace::Replay(replay.clone()),
            (None, None) => Pace::Unpaced,
        }
    }
}

impl Destination {
    /// Whether a line must be taken apart to know its channel.
    pub(super) fn needs_fields(&self) -> bool {
        matches!(self, Self::Field { .. })
    }

    /// The channel of one message.
    ///
    /// # Errors
    /// When the message names none.
    pub(super) fn channel(&self, fields: Option<&Fields<'_>>) -> Result<ChannelName, WireError> {
        match (self, fields) {
            (Self::Channel(name), _) => Ok(name.clone()),
            (Self::Field { prefix, field }, Some(fields)) => fields.channel(prefix, field),
            (Self::Field { prefix, field }, None) => Fields::of(b"{}")?.channel(prefix, field),
        }
    }
}

fn checked_size(text: &str) -> Result<Bytes, Failure> {
    match text.len() {
        0..=PAYLOAD_BYTES_MAX => Ok(Bytes::copy_from_slice(text.as_bytes())),
        bytes => Err(Failure::refused(format!(
            "the message has {bytes} bytes, more than {PAYLOAD_BYTES_MAX}: split it, or store it elsewhere and publish where"
        ))),
    }
}

/// Up to 16 hexadecimal digits are the id itself; any other text stands for the id that it always gave and always will give.
fn publisher_of(text: &str) -> PublisherId {
    let is_hex = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = text.parse().ok().filter(|_| is_hex);
    id.unwrap_or_else(|| {
        let mut hash = SipHasher13::new();
        hash.write(text.as_bytes());
        PublisherId(hash.finish())
    })
}

/// Enough for thousands of messages a second over any distance of this planet, and little enough that acks tell the mesh's own time.
const IN_FLIGHT_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("pub").chain(line.split(' ').filter(|word| !word.is_empty()));
        Plan::of(&Line::try_parse_from(words).expect(line).args)
    }

    #[test]
    fn the_channel_is_given_or_named_by_a_field() {
        let given = plan("chat.a hello").expect("sound");
        assert_eq!(given.destination, Destination::Channel(ChannelName::parse("chat.a").expect("sound")));
        assert_eq!(given.input, Input::Message("hello".into()));
        let named = plan("--channel-field mmsi --channel-prefix live. --lines").expect("sound");
        assert_eq!(named.destination, Destination::Field { prefix: "live.".into(), field: "mmsi".into() });
        assert_eq!(named.input, Input::Lines);
        assert_eq!(plan("--channel-field a {}").expect("sound").input, Input::Message("{}".into()));
        assert_eq!(plan("chat.a").expect("sound").input, Input::Stdin);
    }

    #[test]
    fn flags_that_do_not_go_together_are_wrong_use() {
        for line in
            ["", "--lines", "chat.a hello --lines", "chat.a hello --channel-field a", "hello --channel-field a --lines"]
        {
            assert_eq!(plan(line).expect_err(line).exit, Exit::Usage, "{line}");
        }
        for line in ["chat.a --rate 0", "chat.a --rate 10", "chat.a --replay t", "chat.a --lines --rate 1 --replay t"] {
            assert!(Line::try_parse_from(std::iter::once("pub").chain(line.split(' '))).is_err(), "{line}");
        }
    }

    #[test]
    fn bad_names_sizes_and_options_of_later_versions_are_refused() {
        let large = format!("chat.a {}", "x".repeat(PAYLOAD_BYTES_MAX + 1));
        for line in ["chat..a hello", "chat.* hello", "chat.a hello --key k", &large] {
            assert_eq!(plan(line).expect_err("refused").exit, Exit::Refused);
        }
    }

    #[test]
    fn a_publisher_is_a_number_or_a_text_that_always_gives_the_same() {
        assert_eq!(publisher_of("cafe"), PublisherId(0xcafe));
        assert_eq!(publisher_of("ffffffffffffffff"), PublisherId(u64::MAX));
        assert_eq!(publisher_of("tracker-7"), PublisherId(GOLDEN), "retries of older releases depend on it");
        assert_ne!(publisher_of("10000000000000000"), PublisherId(0), "17 digits are a text");
        assert_ne!(publisher_of("+1"), PublisherId(1));
    }

    const GOLDEN: u64 = 0xc871_241c_ef49_8305;
}
