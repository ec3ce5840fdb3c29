#!/usr/bin/env bash
# The baseline of `make bench NAME=fresh`: what an able administrator's script would do to bring a host to the demo's
# state. It runs as root on the host, beside what tests/benchmarks/bundle.py laid there:
#
#   packages          NAME=VERSION, sorted
#   requirements.txt  hash-locked, for the Python environment at the path in `environment` (both empty where there is none)
#   manifest, files/  MODE OWNER GROUP PATH of directories (with a / at the end) and files, and the files
#   database, ....sql the unit of a PostgreSQL, and what is in it (both missing where there is none)
#   ports             ADDRESS PORT that answer once all is well
#
# A second run changes nothing; the last line says how many changes there were.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "$0")"
changes=0
touched=" "

note() {
    changes=$((changes + 1))
    touched+="$1 "
}

install_packages() {
    local missing
    missing=$(comm -13 <(dpkg-query --show --showformat '${Package}=${Version}\n' | sort) packages)
    [[ -n $missing ]] || return 0
    local apt=(apt-get --quiet --quiet --assume-yes --no-install-recommends -o Dpkg::Use-Pty=0)
    # daemons start once they are configured
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    # and PostgreSQL's package makes no cluster of its own
    local own_cluster=/etc/postgresql-common/createcluster.d/baseline.conf
    if grep --quiet '^postgresql' packages; then install -D /dev/stdin "$own_cluster" <<< 'create_main_cluster = off'; fi
    # shellcheck disable=SC2086 # one word a package
    "${apt[@]}" install $missing >/dev/null || { "${apt[@]}" update && "${apt[@]}" install $missing >/dev/null; }
    rm -f /usr/sbin/policy-rc.d "$own_cluster"
    note packages
}

remove_default_site() {
    [[ -L /etc/nginx/sites-enabled/default ]] || return 0
    rm /etc/nginx/sites-enabled/default
    note nginx
}

make_environment() {
    local environment
    environment=$(cat environment)
    if [[ -z $environment ]] || cmp --silent requirements.txt "$environment/requirements.txt"; then return 0; fi
    rm -rf "$environment"
    python3.9 -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --only-binary=:all: \
        --require-hashes --no-deps --no-compile --requirement requirements.txt
    (cd "$environment"/lib/python3.9/site-packages && rm -rf pip pip-* setuptools setuptools-* pkg_resources pkg_resources-* \
        easy_install.py _distutils_hack distutils-precedence.pth ./*/tests ./*/*/tests)
    "$environment/bin/python" -m compileall -q "$environment"/lib/python3.9/site-packages
    rm -rf "$environment/share"
    find "$environment/bin" ! -type d ! -name 'python*' -delete
    "$environment/bin/python" -c 'import numpy, yaml, importlib.metadata as m; m.distribution("mindspore-federated")'
    # last, since it says that the rest is there
    cp requirements.txt "$environment/"
    chmod -R u=rwX,go=rX "$environment"
    note environment
}

put_files() {
    local mode owner group path
    while read -r mode owner group path; do
        if [[ $(stat --format '%a %U %G' "$path" 2>/dev/null) == "$mode $owner $group" ]] &&
            { [[ $path == */ ]] || cmp --silent "files$path" "$path"; }; then
            continue
        elif [[ $path == */ ]]; then
            install -d -m "$mode" -o "$owner" -g "$group" "$path"
        else
            install -m "$mode" -o "$owner" -g "$group" "files$path" "$path"
        fi
        note "$path"
    done < manifest
}

fill_database() {
    [[ -e database ]] || return 0
    local unit user
    unit=$(cat database)
    systemctl daemon-reload
    systemctl start "$unit"
    user=(psql --quiet --no-psqlrc --host "/run/$unit" --username postgres)
    if [[ $("${user[@]}" --tuples-only --no-align --command "SELECT 1 FROM pg_database WHERE datname = 'janus'") == 1 ]]; then return 0; fi
    "${user[@]}" --set ON_ERROR_STOP=1 --file database.sql >/dev/null
    note database
}

# What of the touched paths a unit reads: its own file, its folder, and all software.
concerns() {
    [[ $touched == *" environment "* || $touched == *" /opt/"* || $touched == *"/$1.service "* || $touched == *"/${1#fedlearn-}/"* ]]
}

run_services() {
    local units=() restart=() unit
    while read -r unit; do units+=("$unit"); done < <(sed -n 's#^.* /etc/systemd/system/\(fedlearn-.*\)\.service$#\1#p' manifest)
    for unit in "${units[@]}"; do
        if concerns "$unit"; then restart+=("$unit"); fi
    done
    if [[ $touched == *" /etc/systemd/system/"* ]]; then systemctl daemon-reload; fi
    # a host may have nginx alone
    if ((${#units[@]})); then
        systemctl enable --quiet "${units[@]}"
        if ((${#restart[@]})); then systemctl restart "${restart[@]}"; fi
        # also what was stopped by hand
        systemctl start "${units[@]}"
    fi
    grep --quiet nginx= packages || return 0
    nginx -t -q
    if ! systemctl is-active --quiet nginx; then
        systemctl start nginx
    elif [[ $touched == *nginx* ]]; then
        systemctl reload nginx
    fi
}

wait_for_health() {
    local address port deadline=$((SECONDS + 180))
    while read -r address port; do
        until (: <> "/dev/tcp/$address/$port") 2>/dev/null; do
            ((SECONDS < deadline)) || { echo "converge.sh: $(hostname): $address port $port doesn't answer" >&2; exit 1; }
            sleep 0.2
        done
    done < ports
}

install_packages
remove_default_site
make_environment
put_files
fill_database
run_services
wait_for_health
echo "changes: $changes"
