//! The public suffix list: names beneath which strangers have names of their own.
//!
//! A crate by itself, because `psl` is one large function that is compiled into whoever calls it: some 13 s of a
//! processor, and 0.8 MB of the program. Here that happens once, beside other crates, and not with every change of
//! those that ask.

/// Whether a name in its normal form is a public suffix, such as `co.uk` and `github.io`. A name of one part that
/// the list does not know is one, too.
#[inline(never)]
pub fn is_public_suffix(name: &str) -> bool {
    psl::suffix_str(name).is_some_and(|suffix| suffix == name)
}

#[cfg(test)]
mod tests {
    use super::is_public_suffix;

    #[test]
    fn the_list_knows() {
        for suffix in ["com", "nowhere", "co.uk", "github.io", "s3.amazonaws.com", "any.ck", "xn--55qx5d.cn"]
        {
            assert!(is_public_suffix(suffix), "{suffix}");
        }
        for name in ["", "example.org", "example.co.uk", "www.ck", "city.kawasaki.jp", "x.nowhere"] {
            assert!(!is_public_suffix(name), "{name}");
        }
    }
}
