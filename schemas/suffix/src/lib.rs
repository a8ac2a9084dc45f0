//! The public suffix list: domain names whose subdomains belong to many owners.
//!
//! It is a crate of its own because `psl` is one large function that is compiled into its callers, which takes about
//! 13 s of processor time and 0.8 MB of code. Here it is compiled once, in parallel with other crates.

#![warn(missing_docs)]

/// Returns whether a name in lower case and without a final dot is a public suffix, such as `co.uk` and `github.io`. A
/// single label that the list does not contain is one, too.
#[inline(never)]
pub fn is_public_suffix(name: &str) -> bool {
    psl::suffix_str(name).is_some_and(|suffix| suffix == name)
}

#[cfg(test)]
mod tests {
    use super::is_public_suffix;

    #[test]
    fn suffixes_and_names() {
        for suffix in ["com", "nowhere", "co.uk", "github.io", "s3.amazonaws.com", "any.ck", "xn--55qx5d.cn"]
        {
            assert!(is_public_suffix(suffix), "{suffix}");
        }
        for name in ["", "example.org", "example.co.uk", "www.ck", "city.kawasaki.jp", "x.nowhere"] {
            assert!(!is_public_suffix(name), "{name}");
        }
    }
}
