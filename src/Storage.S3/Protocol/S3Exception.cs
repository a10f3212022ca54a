namespace Storage.S3.Protocol;

/// <summary>A request cannot be served; becomes S3's XML error document.</summary>
public sealed class S3Exception : Exception
{
    /// <summary>Creates the exception.</summary>
    public S3Exception() : this(S3Error.InternalError)
    {
    }

    /// <summary>Creates the exception with the error's standard message.</summary>
    /// <param name="message">What is wrong, for the client.</param>
    public S3Exception(string message) : this(S3Error.InternalError, message)
    {
    }

    /// <summary>Creates the exception with a cause.</summary>
    /// <param name="message">What is wrong, for the client.</param>
    /// <param name="inner">The cause.</param>
    public S3Exception(string message, Exception inner) : base(message, inner) => Error = S3Error.InternalError;

    /// <summary>Creates the exception.</summary>
    /// <param name="error">S3's error.</param>
    /// <param name="message">What is wrong, for the client; null for the standard text.</param>
    public S3Exception(S3Error error, string? message = null) : base(message ?? error.Message) => Error = error;

    /// <summary>S3's error.</summary>
    public S3Error Error { get; }
}

/// <summary>An error of the S3 protocol: code, HTTP status and standard message ("Error responses" of the S3 API reference).</summary>
/// <param name="Code">The code clients act on.</param>
/// <param name="Status">The HTTP status.</param>
/// <param name="Message">The standard message.</param>
public sealed record S3Error(string Code, int Status, string Message)
{
    /// <summary>No permission, or anonymous.</summary>
    public static readonly S3Error AccessDenied = new("AccessDenied", 403, "Access Denied");

    /// <summary>The bucket exists and belongs to somebody else.</summary>
    public static readonly S3Error BucketAlreadyExists = new("BucketAlreadyExists", 409, "The requested bucket name is not available: it belongs to another user.");

    /// <summary>The bucket exists and is the caller's.</summary>
    public static readonly S3Error BucketAlreadyOwnedByYou = new("BucketAlreadyOwnedByYou", 409, "The bucket exists already and is yours.");

    /// <summary>The bucket holds objects.</summary>
    public static readonly S3Error BucketNotEmpty = new("BucketNotEmpty", 409, "The bucket you tried to delete is not empty.");

    /// <summary>The body does not match the digest.</summary>
    public static readonly S3Error BadDigest = new("BadDigest", 400, "The digest or checksum you specified did not match what was received.");

    /// <summary>A part is smaller than 5 MiB and not the last.</summary>
    public static readonly S3Error EntityTooSmall = new("EntityTooSmall", 400, "A part is smaller than the minimum of 5 MiB, and it is not the last one.");

    /// <summary>Larger than an object or part may be.</summary>
    public static readonly S3Error EntityTooLarge = new("EntityTooLarge", 400, "The upload exceeds the maximum size.");

    /// <summary>The body ended early.</summary>
    public static readonly S3Error IncompleteBody = new("IncompleteBody", 400, "The body ended before the number of bytes in Content-Length was received.");

    /// <summary>Our fault.</summary>
    public static readonly S3Error InternalError = new("InternalError", 500, "The gateway met an internal error. Try again.");

    /// <summary>Unknown key.</summary>
    public static readonly S3Error InvalidAccessKeyId = new("InvalidAccessKeyId", 403, "The access key does not exist in the cluster's records.");

    /// <summary>An argument is wrong.</summary>
    public static readonly S3Error InvalidArgument = new("InvalidArgument", 400, "Invalid argument.");

    /// <summary>The bucket name breaks the rules.</summary>
    public static readonly S3Error InvalidBucketName = new("InvalidBucketName", 400, "The bucket name is not valid: 3 to 63 of a-z, 0-9, '.' and '-', starting and ending with a letter or digit.");

    /// <summary>A digest is not of the right form.</summary>
    public static readonly S3Error InvalidDigest = new("InvalidDigest", 400, "The Content-MD5 is not valid.");

    /// <summary>A part is unknown or its ETag differs.</summary>
    public static readonly S3Error InvalidPart = new("InvalidPart", 400, "A part could not be found, or its ETag does not match.");

    /// <summary>Parts are not in ascending order.</summary>
    public static readonly S3Error InvalidPartOrder = new("InvalidPartOrder", 400, "The parts were not in ascending order.");

    /// <summary>The range lies outside the object.</summary>
    public static readonly S3Error InvalidRange = new("InvalidRange", 416, "The requested range is not satisfiable.");

    /// <summary>The request makes no sense.</summary>
    public static readonly S3Error InvalidRequest = new("InvalidRequest", 400, "Invalid request.");

    /// <summary>The key is too long.</summary>
    public static readonly S3Error KeyTooLong = new("KeyTooLongError", 400, "The key is longer than 1024 bytes.");

    /// <summary>The XML does not parse.</summary>
    public static readonly S3Error MalformedXml = new("MalformedXML", 400, "The XML is not well-formed or not of the published schema.");

    /// <summary>The verb is not allowed here.</summary>
    public static readonly S3Error MethodNotAllowed = new("MethodNotAllowed", 405, "The method is not allowed against this resource.");

    /// <summary>A length is needed.</summary>
    public static readonly S3Error MissingContentLength = new("MissingContentLength", 411, "The Content-Length header is required.");

    /// <summary>No such bucket.</summary>
    public static readonly S3Error NoSuchBucket = new("NoSuchBucket", 404, "The bucket does not exist.");

    /// <summary>No such object.</summary>
    public static readonly S3Error NoSuchKey = new("NoSuchKey", 404, "The key does not exist.");

    /// <summary>No such upload.</summary>
    public static readonly S3Error NoSuchUpload = new("NoSuchUpload", 404, "The upload does not exist: its id is wrong, or it was completed or aborted.");

    /// <summary>Not built yet.</summary>
    public static readonly S3Error NotImplemented = new("NotImplemented", 501, "The functionality is not implemented.");

    /// <summary>A condition failed.</summary>
    public static readonly S3Error PreconditionFailed = new("PreconditionFailed", 412, "A precondition you specified did not hold.");

    /// <summary>The presigned request is too old.</summary>
    public static readonly S3Error ExpiredToken = new("AccessDenied", 403, "Request has expired");

    /// <summary>The clocks differ by more than 15 minutes.</summary>
    public static readonly S3Error RequestTimeTooSkewed = new("RequestTimeTooSkewed", 403, "The difference between the request's time and the server's is too large.");

    /// <summary>The signature is wrong.</summary>
    public static readonly S3Error SignatureDoesNotMatch = new("SignatureDoesNotMatch", 403, "The signature does not match: check the secret key and the signing method.");

    /// <summary>The authorization header is malformed.</summary>
    public static readonly S3Error AuthorizationHeaderMalformed = new("AuthorizationHeaderMalformed", 400, "The authorization header is malformed.");

    /// <summary>The payload's SHA-256 differs from the signed one.</summary>
    public static readonly S3Error XAmzContentSHA256Mismatch = new("XAmzContentSHA256Mismatch", 400, "The provided x-amz-content-sha256 header does not match what was computed.");

    /// <summary>The cluster cannot serve now, or is full.</summary>
    public static readonly S3Error ServiceUnavailable = new("ServiceUnavailable", 503, "The cluster cannot serve the request now. Try again.");

    /// <summary>The cluster is full.</summary>
    public static readonly S3Error InsufficientStorage = new("InsufficientStorage", 507, "The cluster is full: remove objects or add OSDs.");
}
