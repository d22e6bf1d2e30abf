"""What to do on hosts where lvg would be of no use: one line each, ready to be followed there."""

NIXOS = (
    "NixOS writes this file itself. Put into configuration.nix: virtualisation.libvirtd = { enable = true; "
    'onBoot = "ignore"; onShutdown = "shutdown"; parallelShutdown = 100; shutdownTimeout = 240; }; '
    "then run: nixos-rebuild switch"
)
GUIX = (
    "libvirt-service-type has no libvirt-guests. Add a shepherd service to your operating-system whose requirement is "
    "libvirtd and whose stop runs `virsh shutdown` for each running guest and waits, then run: guix system reconfigure"
)
VOID = (
    "Void has no libvirt-guests service. Put a script into /etc/runit/shutdown.d, named to run before 10-sv-stop.sh, "
    "that runs `virsh shutdown` for each running guest and waits."
)
SLACKWARE = (
    "Slackware's /etc/rc.d/rc.libvirt saves the guests itself when it stops, and destroys what is not saved after 5 "
    "minutes. Change it there, and see that /etc/rc.d/rc.local_shutdown calls it."
)
CHIMERA = (
    "Chimera has no libvirt-guests service. Write a dinit service that depends on libvirtd and whose stop-command "
    "runs `virsh shutdown` for each running guest and waits."
)
ARTIX_WITHOUT_OPENRC = (
    "Artix has libvirt-guests for OpenRC only (package libvirt-openrc). With runit, s6 or dinit, add a service of your "
    "own that depends on libvirtd and whose stop runs `virsh shutdown` for each running guest and waits."
)
UNKNOWN = "Name a distro it resembles with --distro ID, or the file that libvirt-guests reads with --config-file PATH."
PROXMOX = (
    "Proxmox VE stops its own guests (pve-guests). Set the seconds for each one there: "
    "qm set VMID --onboot 1 --startup down=240, or in the guest's Options, Start/Shutdown order."
)
XEN = (
    "The Xen toolstack (xapi) runs the guests here, not libvirt. Install the guest tools in every guest and shut the "
    "host down from Xen Orchestra or XenCenter, or with: xe host-disable, xe vm-shutdown, xe host-shutdown."
)
TRUENAS = (
    "TrueNAS writes /etc/default/libvirt-guests itself. Set the Shutdown Timeout of each virtual machine in the web "
    "interface, or run: midclt call vm.update ID '{\"shutdown_timeout\": 240}'"
)
