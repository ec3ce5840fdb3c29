# shellcheck shell=sh
# over SECONDS: a moment in words, where it has passed
over() {
    [ "$1" -gt "$(date +%s)" ] || date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ
}

# over_for_all FILE: when the last of its certificates has ended; nothing while one is valid
over_for_all() {
    ends=$(openssl storeutl -noout -text -certs "$1" 2>/dev/null | sed -n 's/^ *Not After *: //p')
    [ -n "$ends" ] || fail "$1: there is no certificate in it" >&2
    over "$(echo "$ends" | while read -r end; do date -d "$end" +%s; done | sort -n | tail -n 1)"
}

# lasting CA CERTIFICATE [CLIENT_CA]: fails where the certificate has ended, or all CAs have; also those of clients: the
# server itself would begin, and refuse all they show
lasting() {
    for file in "$@"; do
        [ -s "$file" ] || fail "$file isn't there, or is empty"
    done
    ended=$(over_for_all "$1")
    [ -z "$ended" ] || fail "$1: the CA's certificate has expired, on $ended: clients refuse what it signed; change the CA"
    end=$(openssl x509 -noout -enddate -in "$2" 2>&1) || fail "$2: $end"
    ended=$(over "$(date -d "${end#*=}" +%s)")
    [ -z "$ended" ] || fail "$2: the certificate has expired, on $ended: renew it"
    [ "$#" -gt 2 ] || return 0
    ended=$(over_for_all "$3")
    [ -z "$ended" ] || fail "$3 has no CA that is valid now, the last ended on $ended: whoever shows a certificate is refused"
}

# trusted CA CERTIFICATE: fails with the reason where clients that know the CA wouldn't trust a server's certificate
trusted() {
    said=$(openssl verify -purpose sslserver -CAfile "$1" -untrusted "$2" "$2" 2>&1) || fail "$said"
}

# paired KEY CERTIFICATE: fails unless it is the key of the certificate
paired() {
    own=$(openssl pkey -pubout -passin pass: -in "$1" 2>&1) || fail "$1: $own"
    [ "$own" = "$(openssl x509 -noout -pubkey -in "$2")" ] || fail "$1 is not the key of $2"
}

# named CA CERTIFICATE [OPTION NAME]...: fails unless it is of one of those that clients would ask for
named() {
    ca=$1 certificate=$2 names=
    shift 2
    [ "$#" -gt 0 ] || return 0
    while [ "$#" -gt 0 ]; do
        ! openssl verify -CAfile "$ca" -untrusted "$certificate" "$1" "$2" "$certificate" >/dev/null 2>&1 || return 0
        names="$names${names:+, }$2"
        shift 2
    done
    fail "$certificate isn't valid for $names: public_name says what else clients call it"
}
