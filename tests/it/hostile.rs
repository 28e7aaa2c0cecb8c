//! Hostile bakefiles, through the binary and with little memory: each ends with an error that names the limit.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// Kibibytes of address space. Whoever needs more dies of it, and no test passes on a signal.
const MEMORY: usize = 2 << 20;

/// Bytes of all output; a message that repeats its input is longer.
const MAX_OUTPUT: usize = 20_000;

/// Runs `bake ARGS` on a file of this name and text.
fn bake(name: &str, text: &str, args: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(name), text).expect("written");
    run(directory.path(), &[args, &["-f", name]].concat())
}

fn run(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_bake")]);
    command.args(args).current_dir(directory).env_clear().env("HOME", directory).output().expect("sh runs")
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.len() < MAX_OUTPUT, "{} bytes of messages: {}", text.len(), &text[..200]);
    text
}

/// `print` of the file fails in the way of a wrong file, with `message` in its error.
#[track_caller]
fn refused(name: &str, text: &str, message: &str) {
    let output = bake(name, text, &["print"]);
    let errors = stderr(&output);
    let end = &text[text.len().saturating_sub(120)..];
    assert!(errors.contains(message), "no {message:?} in: {errors} for …{end}");
    assert_eq!(output.status.code(), Some(3), "{errors}");
}

/// `print` of the file succeeds.
#[track_caller]
fn printed(name: &str, text: &str) -> String {
    let output = bake(name, text, &["print"]);
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `n` blocks that `block` writes from their number.
fn blocks(n: usize, block: impl Fn(usize) -> String) -> String {
    (0..n).map(block).collect()
}

/// Variables `v0` to `vN`, each made of the one before it by `step`; a target that has `used` as an argument.
fn doubling(n: usize, first: &str, step: impl Fn(&str) -> String, used: &str) -> String {
    let mut text = format!("variable \"v0\" {{ default = {first} }}\n");
    for i in 1..=n {
        _ = writeln!(text, "variable \"v{i}\" {{ default = {} }}", step(&format!("v{}", i - 1)));
    }
    text + &target(used)
}

fn target(value: &str) -> String {
    format!("target \"default\" {{\n  args = {{ X = {value} }}\n}}\n")
}

#[test]
fn parents_of_parents_are_taken_once() {
    let levels = |body: &str| {
        let level = |i| format!("target \"t{i}\" {{\n  inherits = [\"t{0}\", \"t{0}\"]\n  {body}\n}}\n", i + 1);
        blocks(40, level) + "target \"t40\" {\n  args = { A = \"1\" }\n  policy = [{ filename = \"p\" }]\n}\n"
    };
    let all = "group \"default\" { targets = [\"t0\"] }\n";
    refused("build.hcl", &(levels("") + all), "the targets are more than 512 MiB together, all inherited");
    let without_policy = levels("").replace("  policy = [{ filename = \"p\" }]\n", "");
    assert!(printed("build.hcl", &(without_policy + all)).contains("\"A\": \"1\""));
}

#[test]
fn long_chains_of_parents_are_cheap_and_what_adds_up_is_bounded() {
    let chain = |n: usize, body: &dyn Fn(usize) -> String| {
        let link = |i| format!("target \"t{i}\" {{\n  inherits = [\"t{}\"]\n  {}\n}}\n", i + 1, body(i));
        blocks(n, link) + &format!("target \"t{n}\" {{}}\ngroup \"default\" {{ targets = [\"t0\"] }}\n")
    };
    printed("build.hcl", &chain(20_000, &|_| String::new()));
    let each_adds = chain(8_000, &|i| format!("args = {{ A{i} = \"{i}\" }}"));
    refused("build.hcl", &each_adds, "the targets are more than 512 MiB together");
}

#[test]
fn values_that_double_end_before_the_memory_does() {
    let ones = "[1, 2, 3, 4]";
    let too_large = "this value is more than 64 MiB, written out";
    refused("build.hcl", &doubling(60, ones, |v| format!("[{v}, {v}]"), "length(v60)"), too_large);
    refused("build.hcl", &doubling(60, "\"0123456789\"", |v| format!("\"${{{v}}}${{{v}}}\""), "v60"), "16 MiB");
    refused("build.hcl", &doubling(60, ones, |v| format!("concat({v}, {v})"), "length(v60)"), "64 MiB");
    refused("build.hcl", &doubling(60, "{ a = 1 }", |v| format!("{{ a = {v}, b = {v} }}"), "v60.a"), too_large);
    let joined = doubling(60, "\"0123456789\"", |v| format!("join({v}, [{v}, {v}])"), "v60");
    refused("build.hcl", &joined, "`join`: the text would be longer than 16 MiB");
    // Many values, none of them large.
    let texts = doubling(12, "\"0123456789\"", |v| format!("\"${{{v}}}${{{v}}}\""), "v12");
    let many = texts
        + &blocks(20, |i| format!("variable \"w{i}\" {{ default = [for i in range(1024): \"${{v12}}${{i}}\"] }}\n"));
    refused("build.hcl", &many, "the values are more than 512 MiB in all");
    // A value that holds much and is small itself is no harm.
    printed("build.hcl", &doubling(14, ones, |v| format!("[{v}, {v}]"), "length(v14)"));
    let equal = doubling(14, ones, |v| format!("[{v}, {v}]"), "v14 == v14");
    assert!(printed("build.hcl", &equal).contains("\"X\": \"true\""));
}

#[test]
fn functions_refuse_before_they_build() {
    let large = doubling(18, "\"0123456789abcdef\"", |v| format!("\"${{{v}}}${{{v}}}\""), "1")
        .replace("default\" {\n", "other\" {\n");
    let call = |value: &str| large.clone() + &target(value);
    let longer = "the text would be longer than 16 MiB";
    let cases = [
        ("replace(v18, \"\", v10)", longer),
        ("replace(v18, \"0\", v10)", longer),
        ("regex_replace(v16, \"0\", v12)", longer),
        ("regex_replace(v18, \".*\", \"$0$0$0$0$0$0$0$0$0$0$0$0\")", longer),
        ("indent(1000, replace(v18, \"0\", \"\\n\"))", longer),
        ("join(v18, range(1024))", longer),
        ("format(\"%[1]s%[1]s%[1]s%[1]s%[1]s\", v18)", longer),
        ("formatlist(\"%s%s%s\", range(1024), v18, v18)[0]", "64 MiB"),
        ("length(split(\"\", v18))", "there would be more than 1048576 elements"),
        ("length(split(\"0\", replace(v18, \"1\", \"0000\")))", "there would be more than 1048576 elements"),
        ("length(regexall(\"((((((((((((((((.))))))))))))))))\", v16))", "the value would be larger than 64 MiB"),
        ("length(setproduct(range(1024), range(1024)))", "`setproduct`: more than 100000 combinations"),
        ("length(setproduct(range(1000), range(100), [for i in range(9): v10]))", "more than 100000 combinations"),
        ("length(setproduct([for i in range(1024): 1], [v18, v18]))", "64 MiB"),
        ("length(range(100000))", "`range`: more than 1024 values"),
        ("length(csvdecode(join(\"\\n\", concat([v12], [for i in range(1024): \"x\"]))))", "the value would be larger"),
        ("length(concat([for i in range(1024): split(\"\", v8)]...))", "this value is more than 64 MiB"),
        (
            "length(jsondecode(\"[${replace(v18, \"0123456789abcdef\", \"1,1,1,1,1,1,1,1,\")}1]\"))",
            "more than 1048576 elements",
        ),
        ("regex(\"((a{100}){100}){100}\", v0)", "`regex`: the pattern takes more than 10 MiB, compiled"),
        ("length(regexall(\"(a{100}b?){100}\", v18))", "this pattern is too large for a text of more than"),
        ("bcrypt(\"x\", 31)", "`bcrypt`: the cost is a whole number up to 16"),
        ("[for i in range(1024): bcrypt(v0, 12)][0]", "evaluating takes more than 50000000 steps in all"),
        ("[for i in range(1024): sha256(v18)][0]", "evaluating takes more than 50000000 steps in all"),
        ("cidrsubnets(\"10.0.0.0/8\", 4294967295, 4294967290)[0]", "too few bits left"),
        ("timeadd(\"2020-01-01T00:00:00Z\", \"99999999999999999999h\")", "`timeadd`"),
        ("parseint(v18, 10)", "…"),
        ("v18 + 1", "…"),
    ];
    let mut wrong = String::new();
    for (value, message) in cases {
        let output = bake("build.hcl", &call(value), &["print"]);
        let errors = stderr(&output);
        if output.status.code() != Some(3) || !errors.contains(message) {
            _ = writeln!(wrong, "{value}: {}: no {message:?} in: {errors}", output.status);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    printed("build.hcl", &target("\"${pow(10, 300)}${pow(2, 100000)}${1e5000 * 1e5000 * 1e5000}\""));
}

#[test]
fn slow_functions_count_for_what_they_take() {
    let large = doubling(18, "\"0123456789abcdef\"", |v| format!("\"${{{v}}}${{{v}}}\""), "1")
        .replace("default\" {\n", "other\" {\n");
    for call in ["strlen(v18)", "md5(v18)", "sha1(v18)", "substr(v18, 0, 1)", "title(v18)", "trim(v18, \"0\")"] {
        let loops = format!("length([for i in range(1024): [for j in range(1024): {call} == \"\"]])");
        let output = bake("build.hcl", &(large.clone() + &target(&loops)), &["print"]);
        let errors = stderr(&output);
        let is_bounded = errors.contains("evaluating takes more than 50000000 steps in all")
            || errors.contains("the values are more than 512 MiB in all");
        assert!(is_bounded && output.status.code() == Some(3), "{call}: {errors}");
    }
}

#[test]
fn long_numbers_count_for_what_writing_them_takes() {
    let loops = |value: &str| target(&format!("length([for i in range(1024): [for j in range(1024): {value}]])"));
    let in_all = "in all";
    refused("build.hcl", &loops("\"x${1e4999 / 7}\" == \"\""), in_all);
    refused("build.hcl", &loops("\"x${1e-4999 / 7}\" == \"\""), in_all);
    refused("build.hcl", &loops(&format!("\"{}\" + j == 0", "9".repeat(4_000))), in_all);
    let quotients = printed("build.hcl", &target("[for j in range(100): 1e4999 / (3 + j)][99] < 1e4998 ? 1 : 0"));
    assert!(quotients.contains("\"X\": \"1\""));
}

#[test]
fn absent_attributes_are_counted_before_they_are_made() {
    let fields: String = (0..1_000).map(|i| format!("a{i} = optional(string), ")).collect();
    let typed =
        |default: &str| format!("variable \"x\" {{\n  type = list(object({{{fields}}}))\n  default = {default}\n}}\n");
    let larger = "the value would be larger than 64 MiB";
    refused("build.hcl", &(typed("[for i in range(1024): {}]") + &target("1")), larger);
    refused("build.hcl", &(typed("[for i in range(1024): null]") + &target("1")), larger);
    assert!(printed("build.hcl", &(typed("[for i in range(10): {}]") + &target("length(x)"))).contains("\"10\""));
    // Each fits, all of them together do not.
    let many = blocks(40, |i| typed("[for i in range(300): {}]").replace("\"x\"", &format!("\"x{i}\"")));
    refused("build.hcl", &(many + &target("1")), "the values are more than 512 MiB in all");
    // What is no list at all is said as such.
    refused("build.hcl", &(typed("1") + &target("1")), "list of object required, but have number");
}

#[test]
fn many_matrices_are_bounded_together() {
    let axis = (0..316).map(|i| format!("\"{i}\", ")).collect::<String>();
    let matrix = |i: usize| {
        let name = format!("name = \"t{i}-${{a}}-${{b}}\"");
        format!("target \"t{i}\" {{\n  {name}\n  matrix = {{ a = [{axis}], b = [{axis}] }}\n}}\n")
    };
    let text = blocks(60, matrix) + "group \"default\" { targets = [\"t0-0-0\"] }\n";
    refused("build.hcl", &text, "the values are more than 512 MiB in all");
}

#[test]
fn a_bakefile_has_a_size_that_it_may_not_pass() {
    let text = "a = 1\n".repeat(3_000_000);
    let output = bake("build.hcl", &text, &["print"]);
    assert_eq!(stderr(&output), "error: cannot read build.hcl: it is larger than 16 MiB\n");
    assert_eq!(output.status.code(), Some(3));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("docker-bake.hcl"), text).expect("written");
    let errors = stderr(&run(directory.path(), &["print"]));
    assert_eq!(errors, "error: cannot read docker-bake.hcl: it is larger than 16 MiB\n");
}

/// None of these is refused; each took half a minute when every entry was looked for among all.
#[test]
fn lists_and_maps_of_a_target_may_be_long() {
    let entries = |value: &str| (0..50_000).map(|i| format!("    k{i} = \"{value}\"\n")).collect::<String>();
    let block = |name: &str, value: &str| format!("target \"default\" {{\n  {name} = {{\n{}  }}\n}}\n", entries(value));
    assert!(printed("build.hcl", &block("args", "x")).contains("\"k49999\": \"x\""));
    printed("build.hcl", &(block("contexts", "target:t") + "target \"t\" {}\n"));
    let many = |text: &str| format!("flatten([for i in range(200): [for j in range(250): \"{text}\"]])");
    printed("build.hcl", &format!("target \"default\" {{ platforms = {} }}\n", many("linux/arm/v${i}x${j}")));
    let ssh = format!("target \"default\" {{ ssh = {} }}\n", many("s${i}-${j}"));
    refused("build.hcl", &ssh, "error: and 49980 more errors");
}

#[test]
fn what_failed_is_not_tried_again_and_again() {
    let both = |i: usize| format!("function \"f{i}\" {{\n  params = [x]\n  result = f{0}(x) + f{0}(x)\n}}\n", i - 1);
    let first = "function \"f0\" {\n  params = [x]\n  result = [for i in range(1024): \"${text}${i}\"]\n}\n";
    let text = doubling(16, "\"0123456789abcdef\"", |v| format!("\"${{{v}}}${{{v}}}\""), "f60(1)")
        .replace("\"v16\"", "\"text\"");
    refused(
        "build.hcl",
        &(first.to_owned() + &blocks(60, |i| both(i + 1)) + &text),
        "the values are more than 512 MiB",
    );
}

#[test]
fn nesting_is_bounded_in_every_notation() {
    refused("build.hcl", &target(&format!("[1]{}", "[*]".repeat(8_000))), "more than 200 splats stand in a row");
    printed("build.hcl", &target(&format!("length([1]{})", "[*]".repeat(100))));
    let deep = doubling(400, "1", |v| format!("[{v}]"), "1");
    refused("build.hcl", &deep, "this value is nested more than 300 levels deep");
    let json = |value: String| format!("{{\"target\": {{\"default\": {{\"args\": {{\"X\": {value}}}}}}}}}");
    refused("build.json", &json("[".repeat(100_000)), "this is nested more than 64 levels deep");
    refused("build.json", &json("{\"a\":".repeat(100_000)), "this is nested more than 64 levels deep");
    refused("build.toml", &format!("a = {}", "[".repeat(100_000)), "this is nested more than 80 levels deep");
    refused("build.toml", &format!("{}b = 1\n", "a.".repeat(50_000)), "this is nested more than 80 levels deep");
    let yaml = |value: String| format!("services:\n  a:\n    build: {value}\n");
    refused("compose.yaml", &yaml("[".repeat(100_000)), "this is nested more than 128 levels deep");
    refused("compose.yaml", &yaml("{a: ".repeat(100_000)), "this is nested more than 128 levels deep");
}

#[test]
fn huge_numbers_are_refused_without_being_repeated() {
    let digits = "9".repeat(1_000_000);
    let json = |value: &str| format!("{{\"target\": {{\"default\": {{\"args\": {{\"X\": {value}}}}}}}}}");
    let message = "bake holds numbers of up to 5000 digits, and exponents up to 5000";
    for value in [digits.as_str(), "1e999999999", "1e-999999999"] {
        refused("build.json", &json(value), message);
        let toml = format!("[target.default.args]\nX = {}\n", value.replace("1e", "1.0e"));
        refused("build.toml", &toml, message);
    }
    refused("build.hcl", &target(&format!("1 + \"{digits}\"")), "number required, but have the string \"9999");
    refused("compose.yaml", &format!("services:\n  a:\n    build: .\n    image: x\n    {digits}: 1\n"), "…");
}

#[test]
fn warnings_are_counted_where_there_are_many() {
    let lines = blocks(100_000, |i| format!("  attribute{i} = 1\n"));
    let output = bake("build.hcl", &format!("target \"default\" {{\n{lines}}}\n"), &["print"]);
    let warnings = stderr(&output);
    assert!(output.status.success() && warnings.ends_with("warning: and 99980 more warnings\n"), "{warnings}");
}

/// Waits until the process burns time, then asks it to end.
#[test]
fn a_signal_ends_evaluation_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let calls = |i: usize| format!("function \"f{i}\" {{\n  params = [x]\n  result = f{0}(f{0}(x))\n}}\n", i - 1);
    let first = "function \"f0\" {\n  params = [x]\n  result = x\n}\n".to_owned();
    let text = first + &(1..40).map(calls).collect::<String>() + &target("f39(1)");
    std::fs::write(directory.path().join("build.hcl"), text).expect("written");
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bake"))
            .args(["print"])
            .current_dir(directory.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("bake was built");
        let id = rustix::process::Pid::from_child(&child);
        std::thread::sleep(std::time::Duration::from_millis(700));
        rustix::process::kill_process(id, signal).expect("it runs still");
        let status = child.wait().expect("waited for");
        assert_eq!(status.code(), Some(130), "{status:?}");
    }
}
