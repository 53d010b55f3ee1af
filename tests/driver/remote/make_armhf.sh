#!/bin/sh
# Unpacks Debian's Python for 32-bit Arm into a folder, for the tests of the agent under qemu-user:
#
#     apt-get install qemu-user
#     tests/driver/remote/make_armhf.sh /tmp/armhf
#     VTA_ARMHF_ROOT=/tmp/armhf/root pytest tests/driver/remote/test_ssh.py
#
# It has package lists of its own, so the system's are left alone.
set -eu
folder=$(realpath -m "$1")
mkdir -p "$folder/state/lists/partial" "$folder/packages/archives/partial" "$folder/root"
touch "$folder/status"
own="-o APT::Architecture=armhf -o APT::Architectures=armhf -o Dir::State=$folder/state
    -o Dir::State::status=$folder/status -o Dir::Cache=$folder/packages"
# shellcheck disable=SC2086
apt-get -q $own update || true # some lists may be missing; those that matter are tried below
cd "$folder/packages"
# shellcheck disable=SC2086
apt-get -q $own download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 \
    zlib1g libexpat1 libssl3 libffi8 libcrypt1 libbz2-1.0 liblzma5 libuuid1 libgcc-s1
for package in *.deb; do
    dpkg-deb -x "$package" "$folder/root"
done
