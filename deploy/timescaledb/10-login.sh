#!/bin/sh
# Run once, when the database is made: the login of the engine, and none by password for the superuser.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
    --set database="$POSTGRES_DB" --set superuser="${POSTGRES_USER:-postgres}" <<'SQL'
\getenv password POSTGRES_PASSWORD
CREATE ROLE bpm_login LOGIN CREATEROLE BYPASSRLS PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO bpm_login;
ALTER ROLE :"superuser" PASSWORD NULL;
SQL
