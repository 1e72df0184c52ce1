//! Puts the web build (`make web`: `web/dist`) into the program, as it is and compressed.
//!
//! Writes `assets.rs`: a table of paths, bytes and ETags. Without a web build the page says what
//! to run, so that the server can be built and tested without Node.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

const PLACEHOLDER: &str = "<!doctype html>\n<html lang=\"en\">\n<title>ChatCluster</title>\n\
    <p>The server runs, but was built without its page: run <code>make web</code>, then build again.</p>\n</html>\n";

fn main() -> Result<(), Box<dyn Error>> {
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("web/dist");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // A path that does not exist would make every build start anew.
    fs::create_dir_all(&dist)?;
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");

    let mut files = Vec::new();
    find_files(&dist, &mut files)?;
    files.sort();
    let page = dist.join("index.html");
    if !page.is_file() {
        let placeholder = out.join("index.html");
        fs::write(&placeholder, PLACEHOLDER)?;
        files = vec![placeholder];
    }
    let version = fs::read_to_string(dist.join("socket.io/version")).ok();
    let version = version.as_deref().map(str::trim).filter(|_| page.is_file());

    let mut table = String::new();
    let mut count = 0;
    for file in files
        .iter()
        .filter(|file| !file.ends_with("socket.io/version"))
    {
        let path = served_at(file, &dist, &out)?;
        write_asset(
            &mut table,
            file,
            &path,
            version,
            &out.join(format!("{count}.gz")),
        )?;
        count += 1;
    }
    let code = format!(
        "/// Release of the client bundle, if the web build is there.\n\
         pub const CLIENT_VERSION: Option<&str> = {version:?};\n\
         static ASSETS: [Asset; {count}] = [\n{table}];\n"
    );
    fs::write(out.join("assets.rs"), code)?;
    Ok(())
}

fn find_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn served_at(file: &Path, dist: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    let relative = file
        .strip_prefix(dist)
        .or_else(|_| file.strip_prefix(out))?;
    let relative = relative
        .to_str()
        .ok_or("the name of an asset is not text")?
        .replace('\\', "/");
    Ok(if relative == "index.html" {
        "/".to_owned()
    } else {
        format!("/{relative}")
    })
}

fn write_asset(
    table: &mut String,
    file: &Path,
    path: &str,
    version: Option<&str>,
    gzip_file: &Path,
) -> Result<(), Box<dyn Error>> {
    let body = fs::read(file)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&body)?;
    let gzip = encoder.finish()?;
    // Pictures and fonts are compressed already.
    let is_worth_it = gzip.len() < body.len() * 9 / 10;
    let gzip = if is_worth_it {
        fs::write(gzip_file, gzip)?;
        format!("Some(include_bytes!({:?}))", gzip_file)
    } else {
        "None".to_owned()
    };
    let etag = match version {
        Some(version) if path.starts_with("/socket.io/") => version.to_owned(),
        _ => Sha256::digest(&body)[..8]
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
    };
    let etag = format!("\"{etag}\"");
    writeln!(
        table,
        "    Asset {{ path: {path:?}, body: include_bytes!({file:?}), gzip: {gzip}, etag: {etag:?} }},"
    )?;
    Ok(())
}
