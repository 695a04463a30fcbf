//! What the terminal says while the demo runs: commands that work as they stand.

use std::env;
use std::path::PathBuf;

use super::school::{PASSPHRASE, SCHOOLS};
use super::stage::{APP, Stage};

/// Where everything is, and five things to try.
pub(super) fn text(stage: &Stage) -> String {
    let port = stage.public.port();
    let edge = env::current_exe().unwrap_or_else(|_| PathBuf::from("edge-proxy"));
    let edge = format!(
        "{} --config {}",
        edge.display(),
        stage.config_file().display()
    );
    let ca = stage.ca_file();
    let ca = ca.display();
    let [maple, cedar] = SCHOOLS
        .each_ref()
        .map(|school| format!("https://{}:{port}", school.host));
    let plain = stage.plain.port();
    format!(
        "
Bellwether is running on this machine alone.

  {maple}/      Maple Grove School
  {cedar}/      Cedar Hill Academy
  http://maple.localhost:{plain}/       plain, only sends to https

Certificates are signed by {ca}
Trust it in a browser of your choice for the time of the demo, or accept the warning. The key that
could sign more exists in this process only. Everybody's passphrase is `{PASSPHRASE}`.

Five things to try, in another terminal:

1. The page as a browser gets it: HTTP/2, brotli, then the API's public read, twice. The second
   has an Age, and the same serial number.
     curl -sI --http2 --cacert {ca} -H 'Accept-Encoding: br' {maple}/
     curl -si --cacert {ca} {maple}/api/v1/catalogue {maple}/api/v1/catalogue

2. Sign in at Maple Grove, read what the school shares, and try the session at Cedar Hill.
     curl -s --cacert {ca} -c /tmp/bellwether.jar --json '{{\"login\":\"ada\",\"passphrase\":\"{PASSPHRASE}\"}}' {maple}/api/v1/session
     curl -si --cacert {ca} -b /tmp/bellwether.jar {maple}/api/v1/courses
     curl -si --cacert {ca} -H \"Cookie: __Host-session=$(awk '/__Host-session/ {{print $7}}' /tmp/bellwether.jar)\" {cedar}/api/v1/courses

3. Move half of the schools to release two: Cedar Hill goes, Maple Grove stays. Keep a page of each
   open in the browser while you do; then bring it back.
     {edge} shift {APP} green=50%
     {edge} shift {APP} green=0%

4. Leave a note on a course in the browser, and purge the list that everybody shares.
     {edge} purge --tenant maple --tag courses

5. Ask why something is kept, or is not; and how all is.
     {edge} explain {maple}/api/v1/grades
     {edge} status

Ctrl-C ends it and removes everything that it made.
"
    )
}
