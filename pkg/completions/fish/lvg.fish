# fish completion for lvg(8)

function __lvg_profiles
    lvg profiles 2>/dev/null | string replace -r '^\s*(\S+)\s+' '$1\t'
end

function __lvg_ids
    ls /var/lib/lvg/history 2>/dev/null | string match -rg '^0*(\d+)-.*\.json$'
end

complete -c lvg -f
complete -c lvg -n __fish_use_subcommand -a detect -d 'Say what this host is'
complete -c lvg -n __fish_use_subcommand -a profiles -d 'List the profiles, or show one'
complete -c lvg -n __fish_use_subcommand -a status -d 'Hold the host against what was applied'
complete -c lvg -n __fish_use_subcommand -a doctor -d 'Say whether the guests would end cleanly'
complete -c lvg -n __fish_use_subcommand -a plan -d 'Show the next shutdown before it happens'
complete -c lvg -n __fish_use_subcommand -a rehearse -d 'Stop guests now and start them again'
complete -c lvg -n __fish_use_subcommand -a report -d 'Show what happened at the last shutdowns'
complete -c lvg -n __fish_use_subcommand -a rollback -d 'Undo the last apply'
complete -c lvg -n __fish_use_subcommand -a remove -d 'Undo every apply'
complete -c lvg -n __fish_use_subcommand -l version -d 'Print the version'
complete -c lvg -n __fish_use_subcommand -l install-completion -x -a 'bash zsh fish' -d 'Install the completion of Typer'
complete -c lvg -n __fish_use_subcommand -l show-completion -x -a 'bash zsh fish' -d 'Print the completion of Typer'
complete -c lvg -s h -l help -d 'Print a short help'
complete -c lvg -n 'not __fish_use_subcommand; and not __fish_seen_subcommand_from doctor plan rehearse' -l root -x -a '(__fish_complete_directories)' -d 'Work on the system tree below this folder'
complete -c lvg -n 'not __fish_use_subcommand' -s v -l verbose -d 'Say more'
complete -c lvg -n '__fish_seen_subcommand_from profiles' -a '(__lvg_profiles)'
complete -c lvg -n '__fish_seen_subcommand_from detect' -l distro -x -d 'Believe this os-release ID'
complete -c lvg -n '__fish_seen_subcommand_from detect' -l config-file -r -F -d 'Believe that this file counts'
complete -c lvg -n '__fish_seen_subcommand_from detect profiles status doctor plan rehearse report' -l json -d 'Answer with one JSON document'
complete -c lvg -n '__fish_seen_subcommand_from status doctor rollback remove' -s q -l quiet -d 'Say nothing but warnings and errors'
complete -c lvg -n '__fish_seen_subcommand_from rollback remove' -l force -d 'Go on although a file was edited since'
complete -c lvg -n '__fish_seen_subcommand_from rehearse' -a '(timeout 2 virsh -q list --name 2>/dev/null)' -d 'Guest'
complete -c lvg -n '__fish_seen_subcommand_from rehearse' -s y -l yes -d 'Do not ask'
complete -c lvg -n '__fish_seen_subcommand_from plan' -l ups -x -d 'How many seconds the UPS lasts'
complete -c lvg -n '__fish_seen_subcommand_from report' -l last -x -d 'Show so many shutdowns'
complete -c lvg -n '__fish_seen_subcommand_from report' -l id -x -a '(__lvg_ids)' -d 'Show this one'
complete -c lvg -n '__fish_seen_subcommand_from plan report' -l svg -r -F -d 'Write the picture to a file'
