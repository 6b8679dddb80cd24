#!/bin/sh
# A backup in ten lines: one numbered tar archive per job, published by a rename.
# usage: backup.sh backup SOURCE REPOSITORY | list REPOSITORY | restore REPOSITORY NAME TARGET | check REPOSITORY
set -eu
case "$1" in
backup)
    last=$(ls "$3" | sed -n 's/^\([0-9]*\)\.tar\.gz$/\1/p' | tail -n 1)
    name=$(printf '%06d' $((${last:+1$last - 1000000} + 1)))
    trap 'rm -f "$3/$name.part"' EXIT
    tar -czf "$3/$name.part" -C "$2" . && mv "$3/$name.part" "$3/$name.tar.gz" ;;
list) ls "$2" | sed -n 's/^\([0-9]*\)\.tar\.gz$/\1/p' ;;
restore) tar -xpzf "$2/$3.tar.gz" -C "$4" ;;
check) for archive in "$2"/*.tar.gz; do gzip -t "$archive"; done ;;
esac
