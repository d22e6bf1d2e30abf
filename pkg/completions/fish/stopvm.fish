# fish completion for stopvm(8)

complete -c stopvm -f
complete -c stopvm -n __fish_use_subcommand -a stop -d 'Stop all guests, but only while the host goes down'
complete -c stopvm -n __fish_use_subcommand -a restore -d 'Bring back the guests that ran at the last stop'
complete -c stopvm -n __fish_use_subcommand -a status -d 'Show the policy in force and the last stop'
complete -c stopvm -n __fish_use_subcommand -l version -d 'Print the version'
complete -c stopvm -s h -l help -d 'Print a short help'
complete -c stopvm -n 'not __fish_use_subcommand' -l policy -r -F -d 'The policy'
complete -c stopvm -n 'not __fish_use_subcommand' -l state -x -a '(__fish_complete_directories)' -d 'Where the history is'
complete -c stopvm -n '__fish_seen_subcommand_from stop restore' -l uri -x -d 'The libvirt connection'
complete -c stopvm -n '__fish_seen_subcommand_from stop restore' -l now -d 'At once, whatever the host or the policy says'
complete -c stopvm -n '__fish_seen_subcommand_from stop restore' -l only -x -a '(timeout 2 virsh -q list --all --name 2>/dev/null)' -d 'Only these guests'
complete -c stopvm -n '__fish_seen_subcommand_from stop' -l except -x -a '(timeout 2 virsh -q list --all --name 2>/dev/null)' -d 'Do not stop these guests'
complete -c stopvm -n '__fish_seen_subcommand_from stop' -l budget -x -d 'Seconds for all guests'
complete -c stopvm -n '__fish_seen_subcommand_from stop' -l dry-run -d 'Only say what would be done'
complete -c stopvm -n '__fish_seen_subcommand_from status' -l json -d 'Answer with one JSON document'
