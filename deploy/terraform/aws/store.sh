# AWS Secrets Manager, with the credentials of the instance's role (IMDSv2).
secret() {
    meta=${IMDS:-http://169.254.169.254}/latest
    token=$(curl -fsS -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$meta/api/token")
    imds() { curl -fsS -m 5 -H "X-aws-ec2-metadata-token: $token" "$meta/meta-data/$1"; }
    region=$(imds placement/region)
    role=$(imds iam/security-credentials/)
    login=$(imds "iam/security-credentials/$role")
    # Credentials go by a file and not by arguments, which every process may see.
    printf 'user = "%s:%s"\nheader = "X-Amz-Security-Token: %s"\n' $(echo "$login" | jq -r '.AccessKeyId, .SecretAccessKey, .Token') |
        curl -fsS -m 20 -K - --aws-sigv4 "aws:amz:$region:secretsmanager" -H 'Content-Type: application/x-amz-json-1.1' \
            -H 'X-Amz-Target: secretsmanager.GetSecretValue' -d "{\"SecretId\":\"causeway/$1\"}" \
            "${SECRETS:-https://secretsmanager.$region.amazonaws.com}/" | jq -er .SecretString
}
