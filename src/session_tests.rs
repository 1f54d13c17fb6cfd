//! Tests of what a session's shortcuts ask the core: URLs, fields, the environment; and of the small exchange.

use proptest::prelude::*;

use crate::environment::names_a_proxy;
use crate::request::is_valid_field;
use crate::url::{prepared, Prepared};

#[test]
fn a_url_is_plain_only_if_nobody_would_touch_it() {
    for (url, expected) in [
        ("http://a.example/", Some(Prepared::Same)),
        (
            "https://a_b.example:8443/p/x.json?q=1&r=%20?",
            Some(Prepared::Same),
        ),
        ("http://a.example", Some(Prepared::Slash)),
        ("http://a.example:80", Some(Prepared::Slash)),
        ("http://a.example?q", None),
        ("http://a.example/?", None),
        ("http://a.example/#f", None),
        ("http://a.example/%7E", None),
        ("http://a.example/%2f", None),
        ("http://a.example/%2", None),
        ("http://a.example/a/../b", None),
        ("http://a.example/.", None),
        ("http://a.example/.hidden", Some(Prepared::Same)),
        ("http://a.example:080/", None),
        ("http://a.example:0/", None),
        ("http://a.example:65536/", None),
        ("http://a.example:/", None),
        ("http://A.example/", None),
        ("HTTP://a.example/", None),
        ("http://u@a.example/", None),
        ("http://[::1]/", None),
        ("http://.example/", None),
        ("http:///", None),
        ("http://a.example/ü", None),
        ("", None),
    ] {
        assert_eq!(prepared(url), expected, "{url}");
    }
}

proptest! {
    #[test]
    fn no_url_makes_it_panic(url in ".{0,40}", tail in "[ -~]{0,40}") {
        let _ = prepared(&url);
        let _ = prepared(&format!("http://{tail}"));
    }

    #[test]
    fn a_field_with_a_line_break_is_never_valid(name in "[A-Za-z-]{1,5}", value in "[a-z]{0,5}", at in 0_usize..5) {
        prop_assert!(is_valid_field(&name, &value));
        for bad in ['\r', '\n'] {
            let mut broken = value.clone();
            broken.insert(at.min(value.len()), bad);
            prop_assert!(!is_valid_field(&name, &broken));
            let broken = format!("{name}{bad}");
            prop_assert!(!is_valid_field(&broken, &value));
        }
    }
}

#[test]
fn a_proxy_is_named_in_any_case_and_by_the_end_of_a_name() {
    for name in ["http_proxy", "NO_PROXY", "x_Proxy", "_proxy"] {
        assert!(names_a_proxy(name.as_bytes()), "{name}");
    }
    for name in ["proxy", "http_proxy_", "httpproxy", ""] {
        assert!(!names_a_proxy(name.as_bytes()), "{name}");
    }
}

#[cfg(unix)]
mod files {
    use crate::environment::has_netrc;

    #[test]
    fn a_netrc_file_of_either_name_is_found() {
        let home = std::env::temp_dir().join(format!("holdfast-core-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let text = home.to_str().unwrap().to_owned();
        assert!(!has_netrc(text.as_bytes()));
        std::fs::write(home.join("_netrc"), "").unwrap();
        assert!(has_netrc(text.as_bytes()));
        assert!(has_netrc(format!("{text}//").as_bytes()));
        std::fs::remove_dir_all(&home).unwrap();
    }
}

#[cfg(unix)]
mod sockets {
    use std::io::{Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use crate::socket::{read_some, write_now, Outcome, Patience};

    const FOREVER: Patience = Patience {
        stall: None,
        deadline: None,
    };

    #[test]
    fn a_small_exchange_ends_as_it_should() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16];
        assert_eq!(write_now(ours.as_fd(), b"ping"), (4, Outcome::Complete));
        let mut asked = [0; 4];
        theirs.read_exact(&mut asked).unwrap();
        let soon = Patience {
            stall: None,
            deadline: Instant::now().checked_add(Duration::from_millis(20)),
        };
        assert_eq!(
            read_some(ours.as_fd(), &mut buffer, soon),
            (0, Outcome::Deadline)
        );
        theirs.write_all(b"pong").unwrap();
        assert_eq!(
            read_some(ours.as_fd(), &mut buffer, FOREVER),
            (4, Outcome::Complete)
        );
        drop(theirs);
        assert_eq!(
            read_some(ours.as_fd(), &mut buffer, FOREVER),
            (0, Outcome::Eof)
        );
        assert!(matches!(
            write_now(ours.as_fd(), b"x"),
            (0, Outcome::Failed(_))
        ));
    }
}
