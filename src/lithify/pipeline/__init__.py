"""Joins the stages, alone in that: the command line, the service and library users call it.

one container       `target` says which and by what engine; `harden` goes round `learn`, the plan and `prove`, each run
                    of which is a life in `trial`; `diagnose` reads a failed one, `bake` puts files into the image
several together    `groups` tells what a file is; `group` hardens its members one by one: of `compose` (its patch in
                    `compose_files`), `pods`, `clusters`, `rendered` (charts, kustomizations), `lines` (scripts,
                    units), `live_workload` with its `replicas`; `group_options` is what the user said
other hosts         `questions` is all that may be asked there, `elsewhere` asks it
files               `patch` puts a plan into one, `write` and `write_folder` put that in its place and take it back
audits              `audit`, `audit_engine` and `audit_cluster` find inputs; `judge` judges each, over `spread`, `spool`
                    and `cache`; `edits`, `baseline` and `merge` come after; `extensions` are others' rules
logs                `explain`
"""
