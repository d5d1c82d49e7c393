//! EAL and the threads around it.

mod common;

use std::process::{Command, Stdio};

use rte::{Eal, EalConfig, EalError, Lcore, LcoreError, Pool, PoolError};

#[test]
fn the_callers_affinity_stays_and_it_is_no_lcore() {
    let before = rte::available_cores();
    assert!(!before.is_empty());
    common::eal();
    assert_eq!(rte::available_cores(), before);
    assert_eq!(rte::lcore_id(), None);
}

/// Threads that start later are free too.
#[test]
fn a_pinned_caller_stays_pinned_and_nobody_else_is() {
    let all = rte::available_cores();
    let last = *all.last().expect("a core");
    std::thread::spawn(move || {
        rte::pin_current(last).expect("pinned");
        common::eal();
        assert_eq!(rte::available_cores(), [last]);
    })
    .join()
    .expect("a thread");
    assert_eq!(rte::available_cores(), all);
    assert!(matches!(
        rte::pin_current(1_000_000),
        Err(LcoreError::Core {
            core: 1_000_000,
            ..
        })
    ));
}

#[test]
fn a_second_start_is_refused() {
    common::eal();
    let again = Eal::init(common::config());
    assert!(matches!(again, Err(EalError::AlreadyInitialized)));
}

#[test]
fn an_argument_with_nul_is_refused_before_anything_starts() {
    let config = EalConfig {
        extra: vec!["a\0b".into()],
        ..common::config()
    };
    assert!(matches!(Eal::init(config), Err(EalError::Argument(_))));
    common::eal();
}

#[test]
fn the_clock_runs_at_a_plausible_rate() {
    common::eal();
    let hz = rte::clock::hz();
    assert!((100_000_000..10_000_000_000).contains(&hz), "{hz}");
    let start = rte::clock::tsc();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let cycles = rte::clock::tsc() - start;
    assert!(cycles > hz / 25 && cycles < hz * 2, "{cycles} of {hz}");
}

#[test]
fn the_clocks_rate_is_not_rounded() {
    common::eal();
    let hz = rte::clock::hz() as f64;
    // In between nothing is waited for: whatever it takes, both clocks take.
    let off = (0..5).map(|_| {
        let (began, from) = (std::time::Instant::now(), rte::clock::tsc());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (took, cycles) = (began.elapsed(), rte::clock::tsc() - from);
        (cycles as f64 / took.as_secs_f64() / hz - 1.0).abs()
    });
    // What slews the kernel's clock may add 0.05%.
    let least = off.fold(f64::INFINITY, f64::min);
    assert!(least < 7e-4, "{least} off {hz}");
}

#[test]
fn lcores_are_registered_once_a_thread_and_come_back() {
    let eal = common::eal();
    std::thread::spawn(|| {
        let lcore = Lcore::register(eal).expect("an id");
        assert_eq!(rte::lcore_id(), Some(lcore.id()));
        assert_ne!(lcore.id(), 0, "lcore 0 is EAL's own thread");
        assert!(matches!(
            Lcore::register(eal),
            Err(LcoreError::AlreadyRegistered(id)) if id == lcore.id()
        ));
        drop(lcore);
        assert_eq!(rte::lcore_id(), None);
    })
    .join()
    .expect("a thread");
    for _ in 0..300 {
        // There are 128 ids.
        std::thread::spawn(|| drop(Lcore::register(eal).expect("an id")))
            .join()
            .expect("a thread");
    }
}

/// Mbufs in the cache of a thread that ends are not out of reach.
#[test]
fn an_lcore_gives_its_cache_back() {
    let eal = common::eal();
    let pool = Pool::create(eal, &common::unique("cached"), 63, 32, 2176, 0, None).expect("a pool");
    std::thread::spawn(move || {
        let _lcore = Lcore::register(eal).expect("an id");
        drop(pool.alloc().expect("an mbuf"));
        assert_eq!(pool.in_use(), 0, "cached is not in use");
    })
    .join()
    .expect("a thread");
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 63);
}

#[test]
fn pools_say_what_is_wrong() {
    let eal = common::eal();
    let create = |name: &str, room, private| Pool::create(eal, name, 15, 0, room, private, None);
    assert!(matches!(create("", 2176, 0), Err(PoolError::Name(_))));
    let long = "a-name-that-is-much-too-long-for-dpdk";
    assert!(matches!(create(long, 2176, 0), Err(PoolError::Name(_))));
    let edge = "n".repeat(25);
    assert_eq!(create(&edge, 2176, 0).map(|pool| pool.name()), Ok(edge));
    assert_eq!(create("r", 128, 0), Err(PoolError::DataRoom(128)));
    assert_eq!(create("p", 2176, 7), Err(PoolError::Private(7)));
    create("twice", 2176, 0).expect("a pool");
    match create("twice", 2176, 0) {
        Err(PoolError::Dpdk { cause, .. }) => assert_eq!(cause.errno, 17, "{cause}"),
        other => panic!("{other:?}"),
    }
    match Pool::create(eal, "huge", 10_000_000, 0, 2176, 0, None) {
        Err(PoolError::Dpdk { cause, .. }) => assert_eq!(cause.errno, 12, "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// A child process of this test program runs one ignored test, so that its stdout can be looked at.
fn child(test: &str, extra: &str) -> (String, String) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", test, "--nocapture", "-q"])
        .env("RTE_TEST_EXTRA", extra)
        .stdin(Stdio::null())
        .output()
        .expect("a child");
    assert!(output.status.success(), "{output:?}");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
#[ignore = "run by eal_writes_nothing_to_stdout in a process of its own"]
fn child_starts_loudly() {
    let extra = std::env::var("RTE_TEST_EXTRA").unwrap_or_default();
    let config = EalConfig {
        log_level: Some(rte::LogLevel::Debug),
        extra: extra.split_whitespace().map(str::to_owned).collect(),
        ..common::config()
    };
    match Eal::init(config) {
        Ok(eal) => {
            eprintln!("STARTED");
            let refused = rte::Port::attach(&eal, "net_nonsense0");
            eprintln!("REFUSED {}", refused.is_err());
            eal.cleanup();
        }
        Err(error) => eprintln!("FAILED {error}"),
    }
}

#[test]
fn eal_writes_nothing_to_stdout() {
    let (stdout, stderr) = child("child_starts_loudly", "");
    assert!(
        stderr.contains("STARTED") && stderr.contains("EAL: "),
        "{stderr}"
    );
    assert!(stderr.contains("REFUSED true"), "{stderr}");
    for line in stdout.lines() {
        let harness = line.is_empty() || line.starts_with("running") || line.starts_with("test ");
        assert!(harness || line == ".", "on stdout: {line:?}");
    }
}

/// EAL prints its usage to stdout by itself.
#[test]
fn a_refused_argument_is_an_error_and_not_on_stdout() {
    let (stdout, stderr) = child("child_starts_loudly", "--no-such-option");
    assert!(
        stderr.contains("FAILED EAL did not start: rte_eal_init"),
        "{stderr}"
    );
    assert!(
        !stdout.contains("Usage") && !stdout.contains("EAL"),
        "{stdout}"
    );
}

#[test]
fn nothing_is_left_in_run() {
    let prefix = format!("rte-left-{}", std::process::id());
    let (_, stderr) = child("child_starts_loudly", &format!("--file-prefix={prefix}"));
    assert!(stderr.contains("STARTED"), "{stderr}");
    for run in [
        "/run/dpdk".to_owned(),
        std::env::var("XDG_RUNTIME_DIR").unwrap_or_default(),
    ] {
        let left = std::path::Path::new(&run).join(&prefix);
        assert!(!left.exists(), "{left:?}");
    }
}
