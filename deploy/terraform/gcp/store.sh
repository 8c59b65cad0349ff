# Google Secret Manager, with the token of the machine's service account.
secret() {
    meta=${IMDS:-http://169.254.169.254}/computeMetadata/v1
    gce() { curl -fsS -m 5 -H 'Metadata-Flavor: Google' "$meta/$1"; }
    project=$(gce project/project-id)
    token=$(gce instance/service-accounts/default/token | jq -er .access_token)
    # The token goes by a file and not by an argument, which every process may see.
    printf 'header = "Authorization: Bearer %s"\n' "$token" |
        curl -fsS -m 20 -K - "${SECRETS:-https://secretmanager.googleapis.com}/v1/projects/$project/secrets/causeway-$1/versions/latest:access" |
        jq -er .payload.data | base64 -d
}
