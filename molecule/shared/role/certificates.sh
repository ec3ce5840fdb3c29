#!/bin/sh
# certificates.sh DIRECTORY ADDRESS: throw-away CAs and certificates for a role's scenario, made once.
#   ca: server (its address, and the name server.test), client, expired (a server's, with server's key, of the year 2020);
#   ended-ca: ca itself, as it would be had it ended in 2020; other: stranger (a client of another CA)
set -eu
umask 077
[ ! -e "$1/done" ] || exit 0
mkdir -p "$1" && chmod 755 "$1" && cd "$1"
new_key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
for ca in ca other; do
    # shellcheck disable=SC2086
    openssl req -x509 $new_key -keyout $ca.key -out $ca.pem -subj "/CN=$ca" -days 30 \
        -addext keyUsage=critical,keyCertSign,cRLSign
done
sign() { # name CA subject-alternative-names
    # shellcheck disable=SC2086
    openssl req $new_key -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$3" >"$1.ext"
    printf 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >>"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem"
}
sign server ca "IP:$2,IP:127.0.0.1,DNS:server.test"
sign client ca DNS:client.test
sign stranger other DNS:client.test
# only the database of `ca` takes dates that are over
mkdir old && touch old/index && echo 01 >old/serial
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=old/index\nserial=old/serial\nnew_certs_dir=old\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' >old/conf
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' >ca.ext
end() { # name file [how it is signed]
    openssl req -new -key "$1.key" -subj "/CN=$1" -out old/csr
    openssl ca -batch -notext -config old/conf -cert ca.pem -keyfile ca.key -in old/csr -extfile "$1.ext" -out "$2.pem" \
        -startdate 20200101000000Z -enddate 20200201000000Z ${3+"$3"}
}
end server expired
end ca ended-ca -selfsign
rm -rf old ./*.csr ./*.ext
chmod 644 ./*.pem
touch ./done
echo made
