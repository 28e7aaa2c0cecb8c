use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect;

use super::*;
use crate::dockerfile::NetworkMode;
use crate::oci::{MediaType, descriptor};
use crate::plan::NoCache;

fn target() -> PlannedTarget {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    PlannedTarget {
        name: "web".into(),
        platform: "linux/arm64".parse().expect("known"),
        build_platform: "linux/amd64".parse().expect("known"),
        is_multi_platform: true,
        dockerfile: DockerfileSource::Path("/home/someone/web/docker/Dockerfile".into()),
        context: BuildContext::Local("/home/someone/web".into()),
        contexts: BTreeMap::from([
            ("other".into(), BuildContext::Local("/home/someone/other".into())),
            (
                "layout".into(),
                BuildContext::Image(ImageSource::Layout { path: "/home/someone/oci".into(), selector: None }),
            ),
        ]),
        args: text(&[("MIRROR", "https://me:hunter2@mirror.test/x"), ("HTTP_PROXY", "http://u:hunter2@proxy.test")]),
        labels: text(&[("l", "v")]),
        stage: Some("app".into()),
        no_cache: NoCache::Off,
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size: None,
        resources: Default::default(),
    }
}

fn made(mode: ProvenanceMode, version: SlsaVersion) -> String {
    let request = ProvenanceRequest {
        mode,
        version,
        builder_id: String::new(),
        is_reproducible: false,
        is_inline_only: false,
        filename: "provenance.json".into(),
    };
    let base = Dependency { uri: "pkg:docker/base@1".into(), digest: ("sha256".into(), "aa".into()) };
    let materials = Materials {
        dependencies: vec![base],
        locals: BTreeSet::from(["context".into()]),
        secrets: BTreeMap::from([("token".into(), false)]),
        agents: BTreeMap::from([("default".into(), true)]),
        has_network: true,
    };
    let steps = [
        json!({ "type": "source", "identifier": "oci-layout:///home/someone/oci", "lines": [[1, 1]], "inputs": [], "op": 0 }),
        json!({ "type": "exec", "lines": [[2, 3]], "inputs": [{ "kind": "source", "op": 0, "output": 0 }], "op": 1,
            "proxy": { "http_proxy": "http://u:hunter2@proxy.test" } }),
    ];
    let document = document(&Build {
        request: &request,
        target: &target(),
        materials: &materials,
        remote_context: None,
        inputs: Digest::of(b"inputs"),
        dockerfile: "FROM base\nRUN curl https://me:hunter2@h.test\n",
        steps: &steps,
        layers: &[descriptor(MediaType::ImageLayerGzip, 7, Digest::of(b"layer"))],
    });
    format!("{}\n{:#}", document.predicate_type, document.predicate)
}

#[test]
fn max_tells_the_arguments_the_steps_and_the_dockerfile() {
    let text = made(ProvenanceMode::Max, SlsaVersion::V1);
    for secret in ["hunter2", "/home/someone", "proxy.test", &STANDARD.encode("hunter2")] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    assert!(text.contains(&STANDARD.encode("FROM base\nRUN curl https://***@h.test\n")), "{text}");
    expect![[r#"
        https://slsa.dev/provenance/v1
        {
          "buildDefinition": {
            "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
            "resolvedDependencies": [
              {
                "uri": "pkg:docker/base@1",
                "digest": {
                  "sha256": "aa"
                }
              }
            ],
            "externalParameters": {
              "configSource": {
                "path": "docker/Dockerfile"
              },
              "request": {
                "frontend": "dockerfile.v0",
                "args": {
                  "build-arg:MIRROR": "https://***@mirror.test/x",
                  "context:layout": "oci-layout://oci",
                  "context:other": "local:other",
                  "label:l": "v",
                  "target": "app"
                },
                "secrets": [
                  {
                    "id": "token"
                  }
                ],
                "ssh": [
                  {
                    "id": "default",
                    "optional": true
                  }
                ],
                "locals": [
                  {
                    "name": "context"
                  }
                ]
              }
            },
            "internalParameters": {
              "builderPlatform": "linux/amd64",
              "bakeInputs": "sha256:32381523e63197c929b67f793a8098bed0ae3a6fa902634fdbcc6fa4567f3346",
              "buildConfig": {
                "llbDefinition": [
                  {
                    "id": "step0",
                    "op": {
                      "type": "source",
                      "identifier": "oci-layout://oci"
                    },
                    "inputs": []
                  },
                  {
                    "id": "step1",
                    "op": {
                      "type": "exec"
                    },
                    "inputs": [
                      "step0:0"
                    ]
                  }
                ]
              }
            }
          },
          "runDetails": {
            "builder": {
              "id": ""
            },
            "metadata": {
              "buildkit_metadata": {
                "source": {
                  "locations": {
                    "step0": {
                      "locations": [
                        {
                          "ranges": [
                            {
                              "start": {
                                "line": 1
                              },
                              "end": {
                                "line": 1
                              }
                            }
                          ]
                        }
                      ]
                    },
                    "step1": {
                      "locations": [
                        {
                          "ranges": [
                            {
                              "start": {
                                "line": 2
                              },
                              "end": {
                                "line": 3
                              }
                            }
                          ]
                        }
                      ]
                    }
                  },
                  "infos": [
                    {
                      "filename": "docker/Dockerfile",
                      "language": "Dockerfile",
                      "data": "RlJPTSBiYXNlClJVTiBjdXJsIGh0dHBzOi8vKioqQGgudGVzdAo="
                    }
                  ]
                },
                "layers": {
                  "step1:0": [
                    [
                      {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": "sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85",
                        "size": 7
                      }
                    ]
                  ]
                }
              },
              "buildkit_completeness": {
                "request": true,
                "resolvedDependencies": false
              }
            }
          }
        }"#]]
    .assert_eq(&text);
}

#[test]
fn min_tells_inputs_and_no_arguments() {
    expect![[r#"
        https://slsa.dev/provenance/v1
        {
          "buildDefinition": {
            "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
            "resolvedDependencies": [
              {
                "uri": "pkg:docker/base@1",
                "digest": {
                  "sha256": "aa"
                }
              }
            ],
            "externalParameters": {
              "configSource": {
                "path": "docker/Dockerfile"
              },
              "request": {
                "frontend": "dockerfile.v0",
                "args": {
                  "context:layout": "oci-layout://oci",
                  "context:other": "local:other",
                  "target": "app"
                },
                "locals": [
                  {
                    "name": "context"
                  }
                ]
              }
            },
            "internalParameters": {
              "builderPlatform": "linux/amd64",
              "bakeInputs": "sha256:32381523e63197c929b67f793a8098bed0ae3a6fa902634fdbcc6fa4567f3346"
            }
          },
          "runDetails": {
            "builder": {
              "id": ""
            },
            "metadata": {
              "buildkit_metadata": {},
              "buildkit_completeness": {
                "request": false,
                "resolvedDependencies": false
              }
            }
          }
        }"#]]
    .assert_eq(&made(ProvenanceMode::Min, SlsaVersion::V1));
}

#[test]
fn the_old_version_has_its_own_places() {
    expect![[r#"
        https://slsa.dev/provenance/v0.2
        {
          "builder": {
            "id": ""
          },
          "buildType": "https://mobyproject.org/buildkit@v1",
          "materials": [
            {
              "uri": "pkg:docker/base@1",
              "digest": {
                "sha256": "aa"
              }
            }
          ],
          "invocation": {
            "configSource": {
              "entryPoint": "docker/Dockerfile"
            },
            "parameters": {
              "frontend": "dockerfile.v0",
              "args": {
                "context:layout": "oci-layout://oci",
                "context:other": "local:other",
                "target": "app"
              },
              "locals": [
                {
                  "name": "context"
                }
              ]
            },
            "environment": {
              "platform": "linux/amd64",
              "bakeInputs": "sha256:32381523e63197c929b67f793a8098bed0ae3a6fa902634fdbcc6fa4567f3346"
            }
          },
          "metadata": {
            "completeness": {
              "parameters": false,
              "environment": true,
              "materials": false
            },
            "reproducible": false,
            "https://mobyproject.org/buildkit@v1#metadata": {}
          }
        }"#]]
    .assert_eq(&made(ProvenanceMode::Min, SlsaVersion::V02));
}
