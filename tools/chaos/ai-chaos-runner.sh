#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# ai-chaos-runner.sh [all|SCENARIO...] [--seed N] [--short] [--plant NAME] - breaks a fleet of real processes and judges what is left.
# Exit: 0 all held, 1 something did not, 64 unknown scenario or option. See README.md beside it; --help lists all.
exec node "$(dirname "$(readlink -f "$0")")/ai-chaos-runner.mjs" "$@"
