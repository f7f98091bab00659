//! Keys whose private half is public: test keys of RFCs, of test suites, of documentation and of shipped software.
//!
//! Who signs with one of these signs with a key that everybody has. Named by RFC 7638 thumbprint (SHA-256), of which 96 bits are kept:
//! that another key is taken for one of them is as likely as guessing one of those.

/// Never ours to sign with, and never anybody's to verify by. Sorted, for a binary search.
const PUBLISHED: [Beginning; 51] = beginnings([
    "-6bRB2CJ8-K61do6GseoWxTOBs6gguzGMkuMBS3Cmv4",
    "-VkBv7ckVLGbPlrdyjF01LitmrAB_z87v-oICeALHRw",
    "13v2ikB5HGEC_Qu5-OmkBZeFWDQVvsU6SGg7BuazA5I",
    "19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8",
    "2Wz1j82cai26Zfcd-LimXNnjvoEnaVGE_mJpuJ_MQ9A",
    "4qXY_Ng2SoM-vEYr3Vmw_3S-fcOU7xWX0C3A0kwr5uA",
    "6mJUv1Ew5RHPrqjCr3CXJJuH_wigEoC7OP_CGDn3c_w",
    "8izOqBCj1XBwWw0-iTcMv27pUKWwFvNmw-kutyfzf-g",
    "9hBfRPqFszUrWsTBR6wkkDLaZaeE0cHyBfSwFHNUtP0",
    "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
    "CphfCy1h3gmqATljJlv_K6xYe5TW2kw6OmKyy_cKj50",
    "DHFbpoIUqrY8t2zpA2qXfCmr5VO5ZEr4RzHU_-envvQ",
    "DOvxvJiAdIqVWIkFt5hDtCunXLF0BV4-JGv4f-ALSm0",
    "Dkonz0z5KTNs4n8Et2st8RQ1LDY8SqfyeCggYj-f6HU",
    "FeUpmgb2sn8EK282AMs850LoFDIIY20ISr8ZeLBY_1Y",
    "FoglCzuDHdYJpnS-LrlI6UYrvuwYV2ZJkdCXpXl-Q9o",
    "Hq8QDnrnBm1i_yRr4gRGsYQ5o8tlLrxeJq5MSWzOK1U",
    "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8",
    "JPahsiOMnETJrlccbkgB26R-9_fO8XDnfU_TOJQsTUI",
    "KkwMJCP36-uWe-nvCNjgqDa4dLmgJ_52_3X9_GLq24c",
    "LwAFlFevKNyIdZiVEXg9lWfTjTL64vGeDpX-_EYDoX4",
    "OnmpTseBMIz-mU-6V7UMR-5iP3BmRYM0m8krnK_cVqE",
    "PKCx2VvMISHCYDak39S6IcJ-pjiZ4uFZRULnCNeJjWg",
    "QrSSHYSSmMFhEXNS1n8Fh_qLlHaheGzYkoCK4q9j0JE",
    "RgVR5H6vvCLajavO3NKXafnQJXfbDa0gFBXhfKcyeMQ",
    "Rt-IyDEhXohvTl_ozKQ9YGflXGuDb3uu3QmqN2LoMwM",
    "Vh-w7BNCt9T7pNChq7Ja5Ige0nw2tNnQIWtfEAvW-HU",
    "Vy57XrArUrW0NbpI12tEzDHABxMwrTh6HHXRenSpnCo",
    "YEV1EIv9vYLGY_GThCEOLkeymqP0eeXUU7MmlJhqgGA",
    "ZiLSoDuPfDc8rxPl05LxD9nV_EzK3XJ8t6qpTXJCtvw",
    "assScJHiRiMDoQzeL8YrHFhTxIajEq0CcQ-Ty7UIHb8",
    "ayHP8s_OfTOz7Lp74K10qdqgO_pmAnygDsd0O9VnymY",
    "bZuIUh3BSRBjld6C0digNytZPjmTgtUem7zdN0THLzs",
    "cIjvhynCkT3TLS4DgRRm4JE2IQVKlz1rxciWvj9Zc8A",
    "dHri3SADZkrush5HU_50AoRhcKFryN-PI6jPBtPL55M",
    "eLx7cyKbcDMHSL_1LbVriUzfZG-p_W2rjxLJrg9teck",
    "gjxOJEj_YPJC2pi77Z0REbr4XsppK6Vr47Y1NYyRbbo",
    "hKoe1YKmJxChuUJIUBuWgD3Kc_DtVa-vpjuCNmmDQh8",
    "jtGSXJVYuZVE0cLF8m4OWz-gvUEtc1LxRfUd7fMBarg",
    "kcewaPYCKnftX-BgvlyAoEcctxTX3Ci2BtnMlcVZRF4",
    "l2tfkSzhekdOr24I18E1O_-49AlK14MTo7OxJMS7-HI",
    "oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY",
    "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
    "oU9gFemV4ofiUrKT90Xjjqzn0gWM9eMYIkDqIa-gGMc",
    "qAAURBU7O96plDQnMZNvkrE0hYP8gLxqkridxmbv33Q",
    "r45go2du2t4qF0A0cVPwgrFp6j9d_Yiwh3PRNnaX7f0",
    "rjMbZH3XZMntoS1M8SORV0Hg_M04SbIaRJ6iwe8i1VA",
    "tT_w9LRNrY7wJalGsTYSt7rutZi86Gvyc0EKR4CaQAw",
    "u5YUSjQ2-2chBi51NSk3t3g7IM4o2KYcnPqPtCNGd3U",
    "wmmFpWkO48SghamBfz803sJ5wRRYQ1IfBproLrOjlNQ",
    "xpC2YjYH2wUXGHeiMfY8g8S3pGAZFa6mmU7xj5ybODY",
]);

/// The keys of our own test vectors: never to sign with. They do verify, because the vectors' good tokens must.
const OF_TEST_VECTORS: [Beginning; 11] = beginnings([
    "6fTwit8dPhrdCxE_ZxeSEqI89De4w8sjTWxbmc5amCs",
    "ASLugIMcJDmcmIa8T8jqf6nCzCUJc4GaaQpNzxET2LU",
    "TvbWAle6l4miCW2v9IwucWLwWk6mioRlw0X3R6c29NI",
    "WWI3HZgn_nNSkRondlkeu198mvRxEL5iDH1T0SbSVG0",
    "XX4D2w7sUUofzxLrCxTVNV_Eca_CHfJ5feY553DQ_N8",
    "g6saf4cQkF_RJ1FzFoO65ObUM4fWeftMHwJ_fxzi6iA",
    "jL272i8NcxjSFEhwrvyGCr92FIwhbUOJd6hf-dk57OY",
    "qCxMCIYKW7uJhn-88_ITGQbYhZJOvhJjoRkF_UvloN4",
    "rKgwbEtFiHglzQ3MffMhKUmOhjewl-_ntIq-77D7cUM",
    "sPgcgmX0aeniWR-lsWwsmXdANXSlHuflGjEtcz9VKpo",
    "uEv15hIUUucCoC-GEFdMfz76vlSrrxdBORTu__HuhS8",
]);

/// The first characters of a thumbprint.
type Beginning = [u8; 16];

/// Made by the compiler: the module has the beginnings alone.
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "whatever is wrong here does not compile")]
const fn beginnings<const COUNT: usize>(thumbprints: [&str; COUNT]) -> [Beginning; COUNT] {
    let mut all = [[0; 16]; COUNT];
    let mut place = 0;
    while place < COUNT {
        let (beginning, _) = thumbprints[place].as_bytes().split_at(16);
        all[place].copy_from_slice(beginning);
        place += 1;
    }
    all
}

fn is_in(beginnings: &[Beginning], thumbprint: &str) -> bool {
    thumbprint.as_bytes().first_chunk().is_some_and(|beginning| beginnings.binary_search(beginning).is_ok())
}

/// Whether a key set may not hold the key with this thumbprint.
pub(crate) fn is_published(thumbprint: &str) -> bool {
    is_in(&PUBLISHED, thumbprint)
}

/// Whether the key with this thumbprint may not sign for us.
pub(crate) fn must_not_sign(thumbprint: &str) -> bool {
    is_published(thumbprint) || is_in(&OF_TEST_VECTORS, thumbprint)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn the_lists_are_sorted_and_without_repeats() {
        assert!(PUBLISHED.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(OF_TEST_VECTORS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_key_of_rfc_7515_a_2_is_known_and_the_keys_of_the_vectors_only_verify() {
        assert!(is_published("IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8"));
        assert!(!must_not_sign(""));
        for beginning in OF_TEST_VECTORS {
            let thumbprint = format!("{}{}", str::from_utf8(&beginning).unwrap(), "x".repeat(27));
            assert!(must_not_sign(&thumbprint) && !is_published(&thumbprint));
        }
        assert!(!must_not_sign("uEv15hIUUucCoC-"), "shorter than what is kept of it");
    }
}
