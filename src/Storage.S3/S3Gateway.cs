using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Storage.Client;
using Storage.Coding;
using Storage.S3.Authentication;
using Storage.S3.Backend;
using Storage.S3.Buckets;
using Storage.S3.Objects;
using Storage.S3.Protocol;
using Storage.S3.Users;

namespace Storage.S3;

/// <summary>
/// Serves S3 requests on a cluster: authenticates, finds out what is asked for, answers or reports an S3 error. Stateless
/// but for short-lived caches, so any number of gateways may serve the same buckets.
/// </summary>
public sealed partial class S3Gateway
{
    private readonly S3Options _options;
    private readonly ILogger _logger;
    private readonly SignatureV4 _signatures;
    private readonly UserStore _users;
    private readonly ObjectRequests _objects;
    private readonly BucketRequests _buckets;
    private readonly MultipartRequests _multipart;
    private readonly GarbageCollector _garbage;

    /// <summary>Creates a gateway.</summary>
    /// <param name="client">A client that may be called from any thread; see <see cref="LoopObjectClient"/>.</param>
    /// <param name="options">Settings.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Takes failures and slow requests.</param>
    public S3Gateway(IObjectClient client, S3Options options, TimeProvider time, ILogger logger)
    {
        _options = options;
        _logger = logger;
        var indexPool = new Pool(client, options.IndexPool);
        var dataPool = new Pool(client, options.DataPool);
        var index = new BucketIndex(indexPool);
        var buckets = new BucketStore(indexPool, options, time);
        var multipart = new Multipart(indexPool, index, time, options);
        _users = new UserStore(client, options, time);
        _signatures = new SignatureV4(options.Region, time, _users.FindSecretAsync);
        _objects = new ObjectRequests(index, dataPool, options, time);
        _buckets = new BucketRequests(buckets, indexPool, _objects, options);
        _multipart = new MultipartRequests(multipart, index, dataPool, options, time);
        _garbage = new GarbageCollector(indexPool, dataPool, time, logger);
        Buckets = buckets;
    }

    private BucketStore Buckets { get; }

    /// <summary>Removes the data of deleted and replaced objects, round after round.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>Ends with the cancellation.</returns>
    public Task CollectGarbageAsync(CancellationToken cancellation) => _garbage.RunAsync(_options.GarbageInterval, cancellation);

    /// <summary>Goes once through the data of deleted and replaced objects and removes what is due.</summary>
    /// <param name="cancellation">Gives up; what is left is done in the next round.</param>
    /// <returns>Data objects removed.</returns>
    public ValueTask<long> CollectGarbageOnceAsync(CancellationToken cancellation) => _garbage.CollectAsync(cancellation);

    /// <summary>Serves one request.</summary>
    /// <param name="context">The request.</param>
    /// <returns>When it is answered.</returns>
    [SuppressMessage("Design", "CA1031", Justification = "Every failure of a request becomes an answer; the log has the rest.")]
    public async Task HandleAsync(HttpContext context)
    {
        string requestId = RandomNumberGenerator.GetHexString(16, lowercase: true);
        context.Response.Headers["x-amz-request-id"] = requestId;
        context.Response.Headers.Server = "Storage";
        try
        {
            await ServeAsync(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            context.Abort();
        }
        catch (Exception error)
        {
            await ReportAsync(context, error, requestId);
        }
    }

    private async Task ServeAsync(HttpContext context)
    {
        CancellationToken cancellation = context.RequestAborted;
        AuthenticatedRequest authenticated = await _signatures.AuthenticateAsync(context.Request, cancellation);
        string owner = await _users.OwnerOfAsync(authenticated.AccessKey, cancellation);
        (string bucketName, string key) = Target(context.Request);
        using PayloadReader body = OpenBody(context.Request, authenticated);
        var call = new S3Call(context, owner, body);
        if (bucketName.Length == 0)
        {
            await _buckets.ListBucketsAsync(call);
            return;
        }

        if (key.Length == 0)
        {
            await _buckets.HandleAsync(call, bucketName, _multipart);
            return;
        }

        if (System.Text.Encoding.UTF8.GetByteCount(key) > 1024)
        {
            throw new S3Exception(S3Error.KeyTooLong);
        }

        BucketRecord bucket = await Buckets.OpenAsync(bucketName, owner, cancellation);
        if (MultipartRequests.Concerns(context.Request))
        {
            await _multipart.HandleAsync(call, bucket, key, Buckets);
            return;
        }

        await _objects.HandleAsync(call, bucket, key, Buckets);
    }

    private (string Bucket, string Key) Target(HttpRequest request)
    {
        string path = S3Uri.DecodedPath(request).TrimStart('/');
        string host = request.Host.Host;
        if (_options.Domain is { } domain && host.EndsWith("." + domain, StringComparison.OrdinalIgnoreCase))
        {
            return (host[..^(domain.Length + 1)], path);
        }

        int slash = path.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? (path, "") : (path[..slash], path[(slash + 1)..]);
    }

    private static PayloadReader OpenBody(HttpRequest request, AuthenticatedRequest authenticated)
    {
        long length = request.ContentLength ?? -1;
        string decoded = request.Headers["x-amz-decoded-content-length"].ToString();
        if (decoded.Length > 0)
        {
            if (!long.TryParse(decoded, System.Globalization.NumberStyles.None, null, out length))
            {
                throw new S3Exception(S3Error.InvalidArgument, "x-amz-decoded-content-length is not a number.");
            }
        }
        else if (authenticated.Payload >= PayloadMode.SignedChunks)
        {
            throw new S3Exception(S3Error.MissingContentLength, "x-amz-decoded-content-length is required with aws-chunked.");
        }

        return new PayloadReader(request.Body, authenticated, length, request.Headers.ContentMD5.ToString(), ChecksumVerifier.FromRequest(request));
    }

    private async Task ReportAsync(HttpContext context, Exception error, string requestId)
    {
        S3Exception answer = error switch
        {
            S3Exception known => known,
            BadHttpRequestException bad => new S3Exception(S3Error.InvalidRequest, bad.Message),
            ObjectDisposedException => new S3Exception(S3Error.ServiceUnavailable, "The gateway is stopping."),
            _ => new S3Exception(S3Error.InternalError),
        };
        if (answer.Error.Status >= 500 || error is MalformedDataException)
        {
            LogFailed(_logger, requestId, context.Request.Method, context.Request.Path, error);
        }

        if (context.Response.HasStarted)
        {
            // Part of the data is out: only a broken connection tells the client that the rest is missing.
            context.Abort();
            return;
        }

        context.Response.Headers.ContentLength = null;
        context.Response.Headers.Remove("ETag");
        await S3Xml.WriteErrorAsync(context, answer, requestId);
    }

    [LoggerMessage(10, LogLevel.Error, "Request {RequestId} failed: {Method} {Path}")]
    private static partial void LogFailed(ILogger logger, string requestId, string method, string path, Exception error);
}

/// <summary>A request that was authenticated.</summary>
/// <param name="Context">The HTTP request and its answer.</param>
/// <param name="Owner">The user who signed it.</param>
/// <param name="Body">Its body.</param>
internal sealed record S3Call(HttpContext Context, string Owner, PayloadReader Body)
{
    internal HttpRequest Request => Context.Request;

    internal HttpResponse Response => Context.Response;

    internal CancellationToken Cancellation => Context.RequestAborted;

    internal string Query(string name) => Context.Request.Query[name].ToString();

    internal bool Asks(string name) => Context.Request.Query.ContainsKey(name);

    internal int Limit(string name, int most)
    {
        string text = Query(name);
        if (text.Length == 0)
        {
            return most;
        }

        return int.TryParse(text, System.Globalization.NumberStyles.None, null, out int value)
            ? Math.Min(value, most)
            : throw new S3Exception(S3Error.InvalidArgument, $"'{name}' must be a number from 0 to 2147483647.");
    }
}
