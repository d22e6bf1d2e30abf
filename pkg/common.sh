# shellcheck shell=sh
# What the build scripts of this folder share; they source it. Sets: checkout, version, SOURCE_DATE_EPOCH.
#
# The distro's own Python and tools build: a pyenv or conda that is first in PATH does not see the distro's modules.
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
TZ=UTC
export PATH LC_ALL TZ
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

checkout=$(cd "$(dirname "$0")/.." && pwd -P)
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$checkout/installer/lvg/__init__.py")
export version

# Whoever owns the checkout, root may build from it.
git_here() { git -c safe.directory="$checkout" -C "$checkout" "$@"; }

has_git() { [ -e "$checkout/.git" ] && command -v git >/dev/null; }

# The time that everything built bears: that of the last commit, or of the change log where there is no git.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	if has_git; then
		SOURCE_DATE_EPOCH=$(git_here log -1 --format=%ct)
	else
		SOURCE_DATE_EPOCH=$(stat -c %Y "$checkout/CHANGELOG.md")
	fi
fi
export SOURCE_DATE_EPOCH

# need PROGRAM PACKAGE...: say which of Debian's packages is missing, all at once
need() {
	missing=
	while [ $# -gt 0 ]; do
		command -v "$1" >/dev/null || missing="$missing $2"
		shift 2
	done
	if [ -n "$missing" ]; then
		echo "${0##*/}: missing. On Debian: apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
}

# output_folder FOLDER: make it and print its full path
output_folder() {
	mkdir -p "$1"
	(cd "$1" && pwd -P)
}

# export_tree FOLDER: copy every file that git tracks or would track; without git, all but what a build or test leaves
export_tree() {
	mkdir -p "$1"
	if has_git; then
		git_here ls-files -z --cached --others --exclude-standard
	else
		(cd "$checkout" && find . \( -name '__pycache__' -o -name '.*_cache' -o -name '*.egg-info' -o -path ./build \
			-o -path ./dist -o -path ./.hypothesis -o -path ./.venv \) -prune -o -type f -print0 -o -type l -print0)
	fi | (cd "$checkout" && xargs -0 sh -c 'for path; do [ ! -e "$path" ] || printf "%s\0" "$path"; done' sh) |
		tar -C "$checkout" --null --no-recursion -T - -cf - | tar -C "$1" --no-same-owner -xf -
}

# pack FOLDER NAME FILE: write FOLDER/NAME as a .tar.gz of the same bytes each time
pack() {
	tar -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+rX,go-w,a-s \
		--format=gnu -cf - "$2" | gzip -9n >"$3"
}

# at_mnt FOLDER COMMAND...: run COMMAND in /mnt, which is FOLDER, in a mount namespace of its own. makepkg and rpmbuild
# write the path that they run in into their packages, so it has to be the same each time.
at_mnt() {
	set -- sh -ec 'mount --bind "$1" /mnt; cd /mnt; shift; exec "$@"' sh "$@"
	if [ "$(id -u)" = 0 ]; then
		unshare --mount "$@"
	else
		unshare --map-root-user --mount "$@" # files of a source RPM bear the name of who built it: root's, then
	fi
}
