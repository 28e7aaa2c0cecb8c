//! Heredocs of RUN, COPY and ADD.

use expect_test::expect;

use super::Case;

#[test]
fn a_step_may_be_a_script() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r##"FROM busybox
ENV V=env
RUN <<EOF
set -e
echo one $V > /a
echo "two \$V" >> /a
EOF
RUN <<'EOF'
echo quoted $V "$V" >> /a
EOF
RUN <<-EOF
	echo tabs >> /a
		echo deeper >> /a
	EOF
RUN <<EOF
#!/bin/awk -f
BEGIN { print "awk" > "/b" }
EOF
RUN cat <<EOF > /c && cat <<OTHER >> /c
first $V
EOF
second
OTHER
RUN sh -s arg <<'EOF'
echo "script $1 $V" > /d
EOF
RUN cat 3<<EOF <&3 > /e
on three
EOF
RUN <<EOF cat > /f
piped
EOF
RUN echo "<<NOT" a heredoc > /g
RUN <<ONE <<TWO
echo one > /h
ONE
echo two >> /h
TWO
SHELL ["/bin/sh", "-ec"]
RUN <<EOF
echo shell > /i
EOF
RUN --network=none <<EOF
echo flagged > /j
EOF
"##,
    );
    built.has(expect![[r#"
        a 644 0:0 "one env\ntwo $V\nquoted env env\ntabs\ndeeper\n"
        b 644 0:0 "awk\n"
        c 644 0:0 "first env\nsecond\n"
        d 644 0:0 "script arg env\n"
        dev/ 755 0:0
        e 644 0:0 "on three\n"
        f 644 0:0 "piped\n"
        g 644 0:0 "<<NOT a heredoc\n"
        i 644 0:0 "shell\n"
        j 644 0:0 "flagged\n"
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
}

#[test]
fn files_may_stand_in_the_dockerfile() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("real", "real")]);
    let built = case.build(
        r##"FROM scratch
ARG V=value
COPY <<EOF /a
plain ${V} $V \$V ${V:-x} "q" 'q' \\ \n
EOF
COPY <<"EOF" /b
quoted $V \$V
EOF
COPY <<-EOF /d
	tabs $V
	  then blanks
	EOF
COPY <<one real <<two /e/
first
one
second
two
COPY --chmod=0751 --chown=5:6 <<run.sh /f/
#!/bin/sh
run.sh
ADD <<EOF /g
added $V
EOF
COPY <<EOF /h/
named by its delimiter
EOF
COPY <<EOF /i
# no comment
RUN is text

EOF
"##,
    );
    built.has(expect![[r##"
        a 644 0:0 "plain value value $V value \"q\" 'q' \\ n\n"
        b 644 0:0 "quoted $V \\$V\n"
        d 644 0:0 "tabs value\n  then blanks\n"
        e/ 755 0:0
        e/one 644 0:0 "first\n"
        e/real 644 0:0 "real"
        e/two 644 0:0 "second\n"
        f/ 751 5:6
        f/run.sh 751 5:6 "#!/bin/sh\n"
        g 644 0:0 "added value\n"
        h/ 755 0:0
        h/EOF 644 0:0 "named by its delimiter\n"
        i 644 0:0 "# no comment\nRUN is text\n\n"
    "##]]);
    case.fails("FROM scratch\nCOPY <<EOF /a\nnever ends\n", &["EOF"]);
}
