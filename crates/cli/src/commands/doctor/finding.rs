//! What one check found: what was looked at, how it is, and what to do about it. Pure.

use std::fmt;

use serde::Serialize;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What kind of thing was looked at: one word.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What is so.
    pub(super) message: String,
    /// What to do; none when all is well.
    pub(super) remedy: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not for long or not well.
    Warn,
    /// It does not work.
    Fail,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), remedy: None }
    }

    pub(super) fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn fail(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, message: message.into(), remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Finding {
    /// One line; what comes from outside is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let line = |text: &str| text.replace('\n', " ").chars().filter(|c| !c.is_control()).collect::<String>();
        write!(f, "{level:<4}  {:<13} {}", self.check, line(&self.message))?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n      {:<13} -> {}", "", line(remedy)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_remedy_another() {
        assert_eq!(Finding::ok("clock", "right").to_string(), "ok    clock         right");
        let fail = Finding::fail("links", "a\u{1b}b\nc", "open it");
        assert_eq!(fail.to_string(), "FAIL  links         ab c\n                    -> open it");
        let json = serde_json::to_string(&fail).expect("JSON");
        assert_eq!(json, r#"{"check":"links","level":"fail","message":"a\u001bb\nc","remedy":"open it"}"#);
    }
}
