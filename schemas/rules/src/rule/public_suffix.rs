//! Names beneath which strangers have names of their own, by the public suffix list.

use super::name::DomainName;
use schemas_suffix::is_public_suffix;

/// A part that stands for any one: no rule of the list names it.
const ANY_LABEL: &str = "a-name-of-anybody";

/// Whether a suffix takes in what belongs to many owners: a top-level domain (`com`), a public suffix (`co.uk`,
/// `github.io`), or what only public suffixes stand beneath (`kawasaki.jp`, of which `*.kawasaki.jp` is one).
///
/// A name that is narrower is not asked what it holds: somewhere beneath `amazonaws.com` strangers have names as
/// well, and yet it is one owner's.
pub(super) fn is_too_broad(name: &DomainName) -> bool {
    name.is_label() || is_public_suffix(name.as_str()) || is_public_suffix(&format!("{ANY_LABEL}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_many_is_too_broad() {
        let is_too_broad = |text: &str| is_too_broad(&DomainName::new(text).unwrap());
        for broad in [
            "com",
            "nowhere",
            "co.uk",
            "CO.UK.",
            "github.io",
            "s3.amazonaws.com",
            "pvt.k12.ma.us",
            // `*.ck` and `*.kawasaki.jp` are in the list.
            "anything.ck",
            "kawasaki.jp",
            "any.kawasaki.jp",
            "xn--p1ai",
            "xn--55qx5d.cn",
        ] {
            assert!(is_too_broad(broad), "{broad}");
        }
        for narrow in [
            "example.org",
            "example.co.uk",
            "someone.github.io",
            "a.b.example.org",
            "amazonaws.com",
            // Exceptions of the list.
            "www.ck",
            "city.kawasaki.jp",
            // No list knows these.
            "db.internal",
            "_x.y.nowhere",
        ] {
            assert!(!is_too_broad(narrow), "{narrow}");
        }
    }

    #[test]
    fn the_part_that_stands_for_any_is_in_no_rule() {
        assert!(DomainName::new(ANY_LABEL).is_ok_and(|name| name.is_label()));
        assert!(is_public_suffix("org") && !is_public_suffix(&format!("{ANY_LABEL}.org")));
    }
}
