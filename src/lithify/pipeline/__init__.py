"""Joins the stages, alone in that: the command line, the service and library users call it.

one container       `target` says which and by what engine; `harden` goes round `learn`, the plan and `prove`, each run
                    of which is a life in `trial`; `diagnose` reads a failed one, `bake` puts files into the image
several together    `groups`
files               `files`
audits              `audit`, with the rules and sources of others by `extensions`
other hosts         `questions` is all that may be asked there, `elsewhere` asks it
logs                `explain`
"""
