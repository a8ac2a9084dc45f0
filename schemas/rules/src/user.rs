//! Users of the guest: `app`, `1000`, `app:staff`, `1000:1000`.

use std::fmt;
use std::str::FromStr;

/// A user of the guest, with or without a group, each by name or number. Only the guest knows whether they exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuestUser(String);

/// A text that is not a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a user")]
pub struct InvalidUser {
    /// The text.
    pub text: String,
}

impl GuestUser {
    /// Returns it as `user[:group]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GuestUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for GuestUser {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let is_sound = match text.split_once(':') {
            Some((user, group)) => is_name(user) && is_name(group),
            None => is_name(text),
        };
        if is_sound { Ok(Self(text.to_owned())) } else { Err(InvalidUser { text: text.to_owned() }) }
    }
}

crate::serde_as_text!(GuestUser);

/// Returns whether a text can be a name or a number in the guest's `/etc/passwd` or `/etc/group`.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers_with_or_without_a_group() {
        for text in ["root", "0", "1000:1000", "app:staff", "_apt", "host$", "first.last", "a-b:0"] {
            assert_eq!(text.parse::<GuestUser>().unwrap().to_string(), text);
        }
        for text in ["", ":", "app:", ":app", "-app", "app:-x", "a b", "a:b:c", "é", "a/b"] {
            let message = format!("`{text}` is not a user");
            assert_eq!(text.parse::<GuestUser>().unwrap_err().to_string(), message);
        }
    }
}
