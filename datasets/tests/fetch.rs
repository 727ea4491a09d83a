//! Downloads against a local HTTP server that misbehaves on purpose.

use isobar_api::{ApiError, ErrorCode};
use isobar_datasets::{Entry, Error, FetchOptions, Progress, RemoteFile, fetch, fetch_file};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How the server answers.
#[derive(Clone, Debug)]
struct Manner {
    /// Whether it honours `Range`.
    ranges: bool,
    /// Closes the connection after so many bytes of body, on the first so many requests.
    cut_after: usize,
    cuts: usize,
    /// A status instead of the content.
    status: Option<u16>,
    /// Sends no `Content-Length`; the end of the connection ends the body.
    open_ended: bool,
    /// Answers a range request from another byte than asked.
    shifted: bool,
    /// So many first requests are sent elsewhere.
    redirects: usize,
    /// Falls silent where it would close the connection early.
    silent: bool,
}

impl Default for Manner {
    fn default() -> Self {
        let (ranges, cut_after, cuts, status, redirects) = (true, usize::MAX, 0, None, 0);
        let (open_ended, shifted, silent) = (false, false, false);
        Self { ranges, cut_after, cuts, status, open_ended, shifted, redirects, silent }
    }
}

/// Serves one content; remembers from which byte each request asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn start(content: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/data", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { continue };
                // A client that hangs up early is part of the test.
                let _ = answer(stream, &content, &manner, count, &log);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.asked.lock().expect("no panic in the server").clone()
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    manner: &Manner,
    count: usize,
    log: &Mutex<Vec<Option<usize>>>,
) -> std::io::Result<()> {
    let mut from = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    log.lock().expect("one thread").push(from);
    if count < manner.redirects {
        let head = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n";
        return write!(stream, "{head}Connection: close\r\n\r\n");
    }
    if let Some(status) = manner.status {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let start = match (manner.ranges, from) {
        (true, Some(from)) => from + usize::from(manner.shifted),
        _ => 0,
    };
    let body = &content[start..];
    let mut head = match start {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => {
            let (last, total) = (content.len() - 1, content.len());
            format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{last}/{total}\r\n")
        }
    };
    if !manner.open_ended {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    write!(stream, "{head}Connection: close\r\n\r\n")?;
    let most = if count < manner.cuts { manner.cut_after } else { usize::MAX };
    stream.write_all(&body[..body.len().min(most)])?;
    if manner.silent && count < manner.cuts {
        let held = stream.try_clone()?;
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(5));
            drop(held);
        });
    }
    stream.flush()
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn pinned(server: &Server, content: &[u8]) -> RemoteFile {
    let sha256 = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
    let size_bytes = content.len() as u64;
    RemoteFile { path: "sub/data.bin".into(), url: server.url.clone(), size_bytes, sha256 }
}

fn options(attempts: u32) -> FetchOptions {
    FetchOptions { attempts, pause_ms: 0, ..FetchOptions::default() }
}

fn get(file: &RemoteFile, dir: &Path, attempts: u32) -> Result<PathBuf, Error> {
    fetch_file(file, dir, &options(attempts), &mut |_| {})
}

/// Everything in the folder, files only.
fn left(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("sub"))
        .map(|all| all.map(|e| e.expect("entry").file_name().to_string_lossy().into()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn a_whole_file_arrives_with_progress_and_is_not_fetched_twice() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    let file = pinned(&server, &content);
    let mut seen = Vec::new();
    let mut note = |p: Progress<'_>| seen.push(p.done_bytes);
    let path = fetch_file(&file, dir.path(), &options(1), &mut note).expect("fetched");
    assert_eq!(fs::read(&path).expect("there"), content);
    assert!(seen.is_sorted() && seen.last() == Some(&file.size_bytes));
    assert_eq!(left(dir.path()), ["data.bin"]);
    get(&file, dir.path(), 1).expect("there already");
    assert_eq!(server.asked().len(), 1);
    // A damaged copy is replaced.
    fs::write(&path, b"damaged").expect("writes");
    get(&file, dir.path(), 1).expect("fetched again");
    assert_eq!(fs::read(&path).expect("there"), content);
}

#[test]
fn a_cut_connection_is_resumed_by_the_next_run() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let manner = Manner { cut_after: 400_000, cuts: 1, ..Manner::default() };
    let server = Server::start(content.clone(), manner);
    let file = pinned(&server, &content);
    let error = get(&file, dir.path(), 1).expect_err("cut");
    assert!(matches!(error, Error::FetchFailed { .. }), "{error}");
    assert_eq!(left(dir.path()), ["data.bin.part"]);
    let path = get(&file, dir.path(), 1).expect("resumed");
    assert_eq!(fs::read(path).expect("there"), content);
    assert_eq!(left(dir.path()), ["data.bin"]);
    let asked = server.asked();
    assert_eq!(asked[0], None);
    let from = asked[1].expect("a range request");
    assert!(from > 0 && from <= 400_000, "{from}");
}

#[test]
fn several_cuts_are_overcome_within_one_run() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let manner = Manner { cut_after: 300_000, cuts: 3, ..Manner::default() };
    let server = Server::start(content.clone(), manner);
    let path = get(&pinned(&server, &content), dir.path(), 4).expect("fetched");
    assert_eq!(fs::read(path).expect("there"), content);
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_silent_server_is_left_and_asked_again() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let manner = Manner { cut_after: 400_000, cuts: 1, silent: true, ..Manner::default() };
    let server = Server::start(content.clone(), manner);
    let (begun, impatient) = (Instant::now(), FetchOptions { silence_ms: 300, ..options(2) });
    let path = fetch_file(&pinned(&server, &content), dir.path(), &impatient, &mut |_| {});
    assert_eq!(fs::read(path.expect("fetched")).expect("there"), content);
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for the server to hang up");
    assert!(server.asked()[1].is_some(), "what had come was kept");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let manner = Manner { ranges: false, cut_after: 400_000, cuts: 1, ..Manner::default() };
    let server = Server::start(content.clone(), manner);
    let path = get(&pinned(&server, &content), dir.path(), 2).expect("fetched");
    assert_eq!(fs::read(path).expect("there"), content);
    assert!(server.asked()[1].is_some());
}

#[test]
fn a_redirect_is_followed_with_its_range() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner { redirects: 1, ..Manner::default() });
    fs::create_dir(dir.path().join("sub")).expect("folder");
    fs::write(dir.path().join("sub/data.bin.part"), &content[..1000]).expect("writes");
    let path = get(&pinned(&server, &content), dir.path(), 1).expect("fetched");
    assert_eq!(fs::read(path).expect("there"), content);
    assert_eq!(server.asked(), [Some(1000), Some(1000)]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    fs::create_dir(dir.path().join("sub")).expect("folder");
    let part = dir.path().join("sub/data.bin.part");
    std::os::unix::fs::symlink("/dev/full", part).expect("links");
    let error = get(&pinned(&server, &content), dir.path(), 3).expect_err("no room");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_eq!(ApiError::from(error).code, ErrorCode::File);
    assert_eq!(server.asked().len(), 1, "the same again would not help");
}

#[test]
fn a_wrong_hash_leaves_nothing_behind() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let mut other = content.clone();
    other[77] ^= 1;
    let server = Server::start(other, Manner::default());
    let error = get(&pinned(&server, &content), dir.path(), 3).expect_err("other content");
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
    assert_eq!(ApiError::from(error).code, ErrorCode::WrongHash);
    assert_eq!(left(dir.path()), Vec::<String>::new());
    assert_eq!(server.asked().len(), 1, "the same again would not help");
}

#[test]
fn a_foreign_part_file_is_found_out() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    let file = pinned(&server, &content);
    let part = dir.path().join("sub/data.bin.part");
    fs::create_dir(dir.path().join("sub")).expect("folder");
    fs::write(&part, vec![0; 1000]).expect("writes");
    assert!(matches!(get(&file, dir.path(), 1), Err(Error::WrongHash { .. })));
    assert_eq!(left(dir.path()), Vec::<String>::new());
    fs::write(&part, vec![0; content.len() + 5]).expect("writes");
    get(&file, dir.path(), 1).expect("too large a part is dropped at once");
}

#[test]
fn statuses_are_told() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    for (status, requests) in [(404, 1), (503, 3)] {
        let manner = Manner { status: Some(status), ..Manner::default() };
        let server = Server::start(content.clone(), manner);
        let error = get(&pinned(&server, &content), dir.path(), 3).expect_err("no content");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(ApiError::from(error).code, ErrorCode::FetchFailed);
        assert_eq!(server.asked().len(), requests);
        assert_eq!(left(dir.path()), Vec::<String>::new());
    }
}

#[test]
fn more_than_pinned_is_refused_announced_or_not() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    for open_ended in [false, true] {
        let longer = [content.as_slice(), b"more"].concat();
        let server = Server::start(longer, Manner { open_ended, ..Manner::default() });
        let error = get(&pinned(&server, &content), dir.path(), 1).expect_err("too long");
        assert!(matches!(error, Error::FetchFailed { .. }), "{error}");
        assert_eq!(left(dir.path()), Vec::<String>::new(), "open-ended: {open_ended}");
    }
}

#[test]
fn the_wrong_range_is_refused() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let manner = Manner { cut_after: 9_000, cuts: 1, shifted: true, ..Manner::default() };
    let server = Server::start(content.clone(), manner);
    let error = get(&pinned(&server, &content), dir.path(), 2).expect_err("shifted");
    assert!(error.to_string().contains("asked for bytes from"), "{error}");
}

#[test]
fn limits_and_bad_addresses_send_nothing() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    let file = pinned(&server, &content);
    let small = FetchOptions { max_size_bytes: 1000, ..options(1) };
    let refused = fetch_file(&file, dir.path(), &small, &mut |_| {});
    assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    let outside = RemoteFile { path: "../data.bin".into(), ..file.clone() };
    assert!(matches!(get(&outside, dir.path(), 1), Err(Error::Argument(_))));
    assert!(server.asked().is_empty());
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/x", nobody.local_addr().expect("bound"));
    drop(nobody);
    let error = get(&RemoteFile { url, ..file }, dir.path(), 2).expect_err("nobody listens");
    assert!(matches!(error, Error::FetchFailed { source: Some(_), .. }), "{error}");
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

#[test]
fn a_second_process_is_kept_out() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    fs::create_dir(dir.path().join("sub")).expect("folder");
    let part = fs::File::create(dir.path().join("sub/data.bin.part")).expect("creates");
    part.lock().expect("locks");
    let error = get(&pinned(&server, &content), dir.path(), 1).expect_err("locked");
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn sets_are_fetched_whole_and_manual_ones_say_how() {
    let (dir, content) = (tempfile::tempdir().expect("folder"), content());
    let server = Server::start(content.clone(), Manner::default());
    let text = String::new;
    let mut entry = Entry {
        name: "set".into(),
        title: text(),
        task: text(),
        format: text(),
        licence: text(),
        source: text(),
        caveats: text(),
        manual: Some("ask the publisher".into()),
        files: Vec::new(),
    };
    let error = fetch(&entry, dir.path(), &options(1), &mut |_| {}).expect_err("manual");
    assert!(error.to_string().contains("ask the publisher"), "{error}");
    let first = pinned(&server, &content);
    let second = RemoteFile { path: "sub/two.bin".into(), ..first.clone() };
    (entry.files, entry.manual) = (vec![first, second], None);
    assert_eq!(entry.size_bytes(), 2 * content.len() as u64);
    let paths = fetch(&entry, dir.path(), &options(1), &mut |_| {}).expect("both");
    assert_eq!(paths.len(), 2);
    assert_eq!(left(dir.path()), ["data.bin", "two.bin"]);
}
