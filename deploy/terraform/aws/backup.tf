resource "aws_s3_bucket" "backup" {
  for_each      = var.backup ? toset(["backup"]) : []
  bucket_prefix = "${local.name}-backup-"
  tags          = local.tags
}

resource "aws_s3_bucket_public_access_block" "backup" {
  for_each                = aws_s3_bucket.backup
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backup" {
  for_each = aws_s3_bucket.backup
  bucket   = each.value.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "aws:kms" }
  }
}

resource "aws_s3_bucket_versioning" "backup" {
  for_each = aws_s3_bucket.backup
  bucket   = each.value.id
  versioning_configuration { status = "Enabled" }
}
