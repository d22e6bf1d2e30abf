import json
import pytest
import openrchost, roots
from guests import Guest, define, start
from install import copy_checkout, lvg, lvg_install
from openrchost import OpenRcMachine

def show(m, why):
    d = lvg(m, "doctor", "--json", check=False)
    try:
        said = json.loads(d.stdout)
        print(why, d.returncode, [(f["id"], f["severity"], f["message"], f["remedy"], f["evidence"][:200]) for f in said["findings"]], [g["line"] for g in said["guests"]])
    except ValueError:
        print(why, d)

def test_openrc():
    with OpenRcMachine([roots.guest_layer(), openrchost.tree()]) as m:
        copy_checkout(m.root); m.with_openrc_net(); m.boot()
        define(m, Guest("quick"), Guest("slow", agent=True))
        show(m, "openrc bare")
        lvg_install(m, "--profile", "graceful")
        start(m, "quick", "slow")
        show(m, "openrc graceful")

def test_others(host):
    define(host, Guest("vm", agent=True), Guest("plain"))
    start(host, "vm", "plain")
    show(host, "nothing applied")
    for p in ("suspend", "ups", "graceful-240s"):
        lvg_install(host, "--profile", p)
        show(host, p)
    lvg_install(host, "--profile", "graceful", "--overlay")
    show(host, "overlay")
    lvg_install(host, "--profile", "graceful")
    host.run("systemctl stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket", check=False)
    show(host, "no libvirtd")
    host.run("systemctl start libvirtd.socket libvirtd.service", check=False)
    host.run("kill -STOP $(pidof virtlogd || echo 0)", check=False)
    lvg(host, "remove")
    show(host, "removed")
    host.run("journalctl -b | grep -c 'End of file'", check=False)
