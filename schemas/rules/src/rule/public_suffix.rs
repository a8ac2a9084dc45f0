//! Public suffixes: names whose subdomains belong to many owners.

use super::name::DomainName;
use schemas_suffix::is_public_suffix;

/// A label that the list does not name, in place of any label.
const ANY_LABEL: &str = "a-name-of-anybody";

/// Returns whether the subdomains of a name belong to many owners: it is a top-level domain (`com`), a public suffix
/// (`co.uk`, `github.io`), or has only public suffixes below it (`kawasaki.jp`, as `*.kawasaki.jp` is one).
///
/// Public suffixes further below do not matter: `amazonaws.com` has one owner, though some of its subdomains have others.
pub(super) fn is_too_broad(name: &DomainName) -> bool {
    name.is_label() || is_public_suffix(name.as_str()) || is_public_suffix(&format!("{ANY_LABEL}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_suffixes_are_too_broad() {
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
            // The list does not contain these.
            "db.internal",
            "_x.y.nowhere",
        ] {
            assert!(!is_too_broad(narrow), "{narrow}");
        }
    }

    #[test]
    fn the_list_does_not_name_the_sample_label() {
        assert!(DomainName::new(ANY_LABEL).is_ok_and(|name| name.is_label()));
        assert!(is_public_suffix("org") && !is_public_suffix(&format!("{ANY_LABEL}.org")));
    }
}
