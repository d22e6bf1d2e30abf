# fish completion for lvg(8)

function __lvg_profiles
    lvg profiles 2>/dev/null | string replace -r '^\s*(\S+)\s+' '$1\t'
end

complete -c lvg -f
complete -c lvg -n __fish_use_subcommand -a detect -d 'Say what this host is'
complete -c lvg -n __fish_use_subcommand -a profiles -d 'List the profiles, or show one'
complete -c lvg -n __fish_use_subcommand -a status -d 'Hold the host against what was applied'
complete -c lvg -n __fish_use_subcommand -a rollback -d 'Undo the last apply'
complete -c lvg -n __fish_use_subcommand -a remove -d 'Undo every apply'
complete -c lvg -n __fish_use_subcommand -l version -d 'Print the version'
complete -c lvg -n __fish_use_subcommand -l install-completion -x -a 'bash zsh fish' -d 'Install the completion of Typer'
complete -c lvg -n __fish_use_subcommand -l show-completion -x -a 'bash zsh fish' -d 'Print the completion of Typer'
complete -c lvg -s h -l help -d 'Print a short help'
complete -c lvg -n 'not __fish_use_subcommand' -l root -x -a '(__fish_complete_directories)' -d 'Work on the system tree below this folder'
complete -c lvg -n 'not __fish_use_subcommand' -s v -l verbose -d 'Say more'
complete -c lvg -n '__fish_seen_subcommand_from profiles' -a '(__lvg_profiles)'
complete -c lvg -n '__fish_seen_subcommand_from detect' -l distro -x -d 'Believe this os-release ID'
complete -c lvg -n '__fish_seen_subcommand_from detect' -l config-file -r -F -d 'Believe that this file counts'
complete -c lvg -n '__fish_seen_subcommand_from detect profiles status' -l json -d 'Answer with one JSON document'
complete -c lvg -n '__fish_seen_subcommand_from status rollback remove' -s q -l quiet -d 'Say nothing but warnings and errors'
complete -c lvg -n '__fish_seen_subcommand_from rollback remove' -l force -d 'Go on although a file was edited since'
