# bash completion for vbackup(8). Runs nothing.

_vbackup() {
  local cur prev verb='' i
  local common='--config --jobs --json --quiet --verbose --progress --stats --timings --help'
  COMPREPLY=()
  cur=${COMP_WORDS[COMP_CWORD]}
  prev=${COMP_WORDS[COMP_CWORD - 1]}
  if [[ $cur == = ]]; then cur=''
  elif [[ $prev == = && $COMP_CWORD -ge 2 ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      init | create | list | show | dump | restore | check | diff | protect | forget | prune | mount) verb=${COMP_WORDS[i]}; break ;;
    esac
  done
  case $prev in
    --consistency) mapfile -t COMPREPLY < <(compgen -W 'auto snapshot frozen live' -- "$cur"); return ;;
    --progress) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur"); return ;;
    --to | --state | --target | --store | --scratch) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --config | --from | --single | --exclude-from | --prometheus) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --exclude | --exclude-guest | --exclude-if-present | --include | --as | -j | --jobs | --level | --longest-chain | --verify-sample | --snapshot-reserve | --freeze-budget | --read-data-subset | --keep-*) return ;;
  esac
  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'init create list show dump restore check diff protect forget prune mount --help --version' -- "$cur")
    return
  fi
  if [[ $verb == mount && $cur != -* ]]; then compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return; fi
  [[ $cur == -* ]] || return
  local own=''
  case $verb in
    create) own='--to --init --tree --state --single --exclude --exclude-from --exclude-guest --exclude-caches --exclude-if-present --cross-mounts --no-subvolumes --all --full --longest-chain --level --verify-sample --consistency --snapshot-reserve --freeze-budget
                 --forget --keep-within --keep-last --keep-hourly --keep-daily --keep-weekly --keep-monthly --keep-yearly --most-dead --prometheus --dry-run' ;;
    init) own='--to' ;;
    list | diff) own='--to --from' ;;
    protect) own='--to --off' ;;
    show) own='--to --from --recursive' ;;
    dump) own='--to --from' ;;
    restore) own='--to --from --target --as --include --exclude --all --link-live --store --no-devices --dry-run' ;;
    check) own='--to --from --read-data-subset --rehearse --scratch' ;;
    forget) own='--to --keep-within --keep-last --keep-hourly --keep-daily --keep-weekly --keep-monthly --keep-yearly --even-newest --prune --most-dead --dry-run' ;;
    prune) own='--to --most-dead --dry-run' ;;
    mount) own='--to --from --foreground --allow-other' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$common $own" -- "$cur")
}
complete -F _vbackup vbackup
