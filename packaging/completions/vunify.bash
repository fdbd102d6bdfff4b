# bash completion for vunify(8). Runs nothing: names of vservers come from the command line, the configuration file and
# the directories where vservers live.

_vunify_config() {
  local i
  for ((i = 1; i < ${#COMP_WORDS[@]} - 1; i++)); do
    [[ ${COMP_WORDS[i]} == --config ]] && { printf '%s\n' "${COMP_WORDS[i + 1]}"; return; }
  done
  printf '%s\n' /etc/vservers/vunify.conf
}

# The value of a key of the configuration file (the last one), or the default.
_vunify_setting() {
  local value
  value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$(_vunify_config)" 2>/dev/null | tail -n 1)
  printf '%s\n' "${value:-$2}"
}

# --tree trees on the command line, else in the file, else what the host has.
_vunify_guests() {
  local i trees=() path
  for ((i = 1; i < ${#COMP_WORDS[@]} - 1; i++)); do
    # COMP_WORDBREAKS splits NAME=DIR at '='.
    [[ ${COMP_WORDS[i]} == --tree ]] && trees+=("${COMP_WORDS[i + 1]%%=*}")
  done
  [[ ${#trees[@]} -gt 0 ]] ||
    mapfile -t trees < <(sed -n 's/^[[:space:]]*tree[[:space:]]*=[[:space:]]*\([^=]*\)=.*/\1/p' "$(_vunify_config)" 2>/dev/null)
  if [[ ${#trees[@]} -eq 0 ]]; then
    for path in /vservers/*/ /var/lib/machines/*/ /var/lib/lxc/*/rootfs/; do
      [[ -d $path ]] || continue
      path=${path%/}; path=${path%/rootfs}; path=${path##*/}
      [[ $path == lost+found ]] || trees+=("$path")
    done
  fi
  printf '%s\n' "${trees[@]}"
}

# Names of the runs that undo knows.
_vunify_runs() {
  local run
  for run in "$(_vunify_setting state /var/lib/vservers/unify)"/runs/*; do
    [[ -e $run ]] && printf '%s\n' "${run##*/}"
  done
}

_vunify() {
  local cur prev verb='' i words=0
  local shared='--config --tree --pool --state --store --guard --scope --mtime --exclude --no-default-excludes --max-read --min-size
    --jobs --json --quiet --verbose --progress --stats --timings --help'
  COMPREPLY=()
  cur=${COMP_WORDS[COMP_CWORD]}
  prev=${COMP_WORDS[COMP_CWORD - 1]}
  # "--guard=" and "--tree NAME=" arrive in pieces.
  if [[ $cur == = ]]; then cur=''; prev=${COMP_WORDS[COMP_CWORD - 1]}
  elif [[ $prev == = && $COMP_CWORD -ge 2 ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
  [[ $prev == -* || $COMP_CWORD -lt 3 || ${COMP_WORDS[COMP_CWORD - 3]} != --tree ]] || prev=--tree

  # The verb is the first word that is no option and no value of one; `words` counts those after it.
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --config | --tree | --pool | --state | --store | --guard | --scope | --mtime | --exclude | --max-read | --min-size | -j | --jobs | --progress | \
        --package | --hold-while | --by | --html | --prometheus | --against | --max-runtime | --hold-while | -o | --output)
        [[ ${COMP_WORDS[i + 1]:-} == = ]] && ((i++))
        ((i++))
        [[ ${COMP_WORDS[i + 1]:-} == = ]] && ((i += 2)) ;;
      -* | =) ;;
      *) if [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; else ((words++)); fi ;;
    esac
  done

  case $prev in
    --guard) mapfile -t COMPREPLY < <(compgen -W 'auto immutable reflink' -- "$cur"); return ;;
    --scope) mapfile -t COMPREPLY < <(compgen -W 'packages all' -- "$cur"); return ;;
    --mtime) mapfile -t COMPREPLY < <(compgen -W 'exact ignore' -- "$cur"); return ;;
    --progress) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur"); return ;;
    --by) mapfile -t COMPREPLY < <(compgen -W 'guest package source' -- "$cur"); return ;;
    --against) mapfile -t COMPREPLY < <(compgen -W "$(_vunify_guests)" -- "$cur"); return ;;
    --tree | --state | --store | --pool) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --config | --html | --prometheus | -o | --output) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --exclude | --max-read | --min-size | -j | --jobs | --max-runtime | --hold-while | --package) return ;;
  esac

  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'scan plan apply run status report explain check release undo recover gc forget --help --version' -- "$cur")
    return
  fi
  if [[ $cur == -* ]]; then
    local own=''
    case $verb in
      plan) own='--output' ;;
      apply) own='--dry-run --no-freeze --max-runtime --keep-runs' ;;
      run) own='--dry-run --no-freeze --max-runtime --keep-runs --each-pool' ;;
      status) own='--each-pool' ;;
      recover) own='--dry-run --each-pool' ;;
      report) own='--by --package --html --prometheus' ;;
      check) own='--against' ;;
      release) own='--dry-run --hold --hold-while --unhold --package' ;;
      undo | gc) own='--dry-run' ;;
      forget) own='--dry-run --yes' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$shared $own" -- "$cur")
    return
  fi
  case $verb in
    apply) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    undo) [[ $words -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -W "last $(_vunify_runs)" -- "$cur") ;;
    scan | plan | run | report | check) mapfile -t COMPREPLY < <(compgen -W "$(_vunify_guests)" -- "$cur") ;;
    explain | release | forget) [[ $words -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -W "$(_vunify_guests)" -- "$cur") ;;
  esac
}
complete -F _vunify vunify
