# fish completion for lvg-install(8)

function __lvg_install_profiles
    lvg profiles 2>/dev/null | string replace -r '^\s*(\S+)\s+' '$1\t'
    string match -q '*/*' -- (commandline -ct); and __fish_complete_suffix .toml
end

function __lvg_install_keys
    printf '%s=\tsetting of libvirt-guests\n' URIS ON_BOOT START_DELAY ON_SHUTDOWN PARALLEL_SHUTDOWN \
        SHUTDOWN_TIMEOUT BYPASS_CACHE SYNC_TIME PERSISTENT_ONLY
    printf '%s=\tkey of [stopvm]\n' action timeout budget methods resend on_timeout parallel boot start_delay \
        wait_for protect before_stop before_stop_host hook_timeout on_hook_failure
end

complete -c lvg-install -f
complete -c lvg-install -s p -l profile -x -a '(__lvg_install_profiles)' -d 'The profile to apply'
complete -c lvg-install -l set -x -a '(__lvg_install_keys)' -d 'Change one value'
complete -c lvg-install -l root -x -a '(__fish_complete_directories)' -d 'Work on the system tree below this folder'
complete -c lvg-install -l distro -x -d 'Believe this os-release ID'
complete -c lvg-install -l config-file -r -F -d 'The file that libvirt-guests reads'
complete -c lvg-install -s n -l dry-run -d 'Show every change, change nothing'
complete -c lvg-install -l keep -d 'Leave what the admin has set'
complete -c lvg-install -l overlay -d 'Lay a copy over the file of the package'
complete -c lvg-install -l force -d 'Go on where lvg would refuse'
complete -c lvg-install -l no-enable -d 'Do not enable any unit'
complete -c lvg-install -l no-start -d 'Do not start any unit'
complete -c lvg-install -l json -d 'Answer with one JSON document'
complete -c lvg-install -s q -l quiet -d 'Say nothing but warnings and errors'
complete -c lvg-install -s v -l verbose -d 'Say more'
complete -c lvg-install -l version -d 'Print the version'
complete -c lvg-install -l install-completion -x -a 'bash zsh fish' -d 'Install the completion of Typer'
complete -c lvg-install -l show-completion -x -a 'bash zsh fish' -d 'Print the completion of Typer'
complete -c lvg-install -s h -l help -d 'Print a short help'
