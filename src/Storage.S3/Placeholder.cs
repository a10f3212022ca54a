namespace Storage.S3;
