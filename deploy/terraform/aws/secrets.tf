resource "aws_secretsmanager_secret" "node" {
  for_each                = toset(module.core.secrets)
  name                    = "causeway/${each.value}"
  recovery_window_in_days = 7
  tags                    = local.tags
}

# Written only: neither state nor plan has the content.
resource "aws_secretsmanager_secret_version" "node" {
  for_each                 = aws_secretsmanager_secret.node
  secret_id                = each.value.id
  secret_string_wo         = module.core.secret[each.key]
  secret_string_wo_version = module.core.versions[each.key]
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# Each node may read its own secret and no other; with backups, write to the bucket and delete nothing.
data "aws_iam_policy_document" "node" {
  for_each = aws_secretsmanager_secret.node
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [each.value.arn]
  }
  dynamic "statement" {
    for_each = aws_s3_bucket.backup
    content {
      actions   = ["s3:PutObject", "s3:GetObject"]
      resources = ["${statement.value.arn}/*"]
    }
  }
  dynamic "statement" {
    for_each = aws_s3_bucket.backup
    content {
      actions   = ["s3:ListBucket"]
      resources = [statement.value.arn]
    }
  }
}

resource "aws_iam_role" "node" {
  for_each           = aws_secretsmanager_secret.node
  name               = "causeway-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "node" {
  for_each = aws_iam_role.node
  name     = "causeway"
  role     = each.value.id
  policy   = data.aws_iam_policy_document.node[each.key].json
}

# Operators come in by Session Manager, which needs no open port.
resource "aws_iam_role_policy_attachment" "session" {
  for_each   = aws_iam_role.node
  role       = each.value.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "node" {
  for_each = aws_iam_role.node
  name     = each.value.name
  role     = each.value.name
}
