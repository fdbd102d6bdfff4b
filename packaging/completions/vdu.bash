# bash completion for vdu(8).
_vdu() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  case $prev in
    -B | --block-size) mapfile -t COMPREPLY < <(compgen -W '1 512 K kB MiB MB GiB GB' -- "$cur"); return ;;
  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--exclusive --inodes --block-size --json --summarize --help --version' -- "$cur")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
  fi
}
complete -F _vdu vdu
