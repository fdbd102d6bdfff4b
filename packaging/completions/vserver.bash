# bash completion for vserver(8) and the tools beside it.
_vserver() {
  local cur=${COMP_WORDS[COMP_CWORD]} word names=0 i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do word=${COMP_WORDS[i]}; [[ $word == -* ]] || names=$((names + 1)); done
  if [[ $names == 0 && $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--silent --verbose --nodev --help --version' -- "$cur")
  elif [[ $names == 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(cd "${VS_VSERVER_CONF:-/etc/vservers}" 2>/dev/null && for i in *.conf; do [[ $i == vunify.conf || $i == vbackup.conf ]] || echo "${i%.conf}"; done)" -- "$cur")
  elif [[ $names == 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'start stop restart running status enter exec suexec service build delete freeze thaw chkconfig' -- "$cur")
  elif [[ $cur == -* && " ${COMP_WORDS[*]} " == *' build '* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--method --from --suite --packages --ip --ondev --hostname --help' -- "$cur")
  fi
}
_vserver_tool() {
  local cur=${COMP_WORDS[COMP_CWORD]} words
  case ${COMP_WORDS[0]##*/} in
    chcontext) words='--ctx --cap --secure --flag --hostname --domainname --disconnect --silent --help --version' ;;
    chbind) words='--ip --bcast --silent --help --version' ;;
    reducecap) words='--secure --show --help --version' ;;
    vservers) words='--silent --nodev --help --version start stop restart reload status' ;;
    vps | vpstree | vtop | v_service) words='--help --version' ;;
    vkill) words='-s -l --ctx --help --version' ;;
    rebootmgr) words='--pidfile --start --help --version' ;;
    vreboot | vhalt) words='--socket --help --version' ;;
    newvserver) words='--name --hostname --ip --ondev --clone --method --from --suite --packages --unify --yes --dry-run --help --version' ;;
    vapt | vrpm) words='--unify --keep-shared --vunify-config --silent --help --version ALL --' ;;
    *) words='--help --version' ;;
  esac
  case ${COMP_WORDS[0]##*/} in
    vapt | vrpm | rebootmgr)
      mapfile -t COMPREPLY < <(compgen -W "$words $(cd "${VS_VSERVER_CONF:-/etc/vservers}" 2>/dev/null && for i in *.conf; do [[ $i == vunify.conf || $i == vbackup.conf ]] || echo "${i%.conf}"; done)" -- "$cur")
      return ;;
    newvserver | vkill | vreboot | vhalt)
      mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
      return ;;
  esac
  if [[ $cur == -* || ${COMP_WORDS[0]##*/} == vservers ]]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  else mapfile -t COMPREPLY < <(compgen -c -- "$cur"); fi
}
complete -F _vserver vserver
complete -F _vserver_tool chcontext chbind reducecap vservers vserver-stat vps vpstree vtop vkill rebootmgr newvserver vapt vrpm v_service vreboot vhalt
