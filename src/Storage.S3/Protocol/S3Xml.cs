using System.Globalization;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using Microsoft.AspNetCore.Http;

namespace Storage.S3.Protocol;

/// <summary>S3's XML documents.</summary>
internal static class S3Xml
{
    internal static readonly XNamespace Namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

    internal static string Time(long unixMilliseconds) => Time(DateTimeOffset.FromUnixTimeMilliseconds(unixMilliseconds));

    internal static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    internal static XElement Element(string name, params object?[] content) => new(Namespace + name, content);

    /// <summary>Text of a listing: percent-encoded if the client asked for it, since XML 1.0 cannot carry every character.</summary>
    internal static string Text(string text, bool urlEncoded) => urlEncoded ? S3Uri.Encode(text, keepSlash: true) : text;

    internal static async Task WriteAsync(HttpContext context, int status, XElement document)
    {
        byte[] body = Serialize(document);
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/xml";
        context.Response.ContentLength = body.Length;
        await context.Response.Body.WriteAsync(body, context.RequestAborted);
    }

    internal static async Task WriteErrorAsync(HttpContext context, S3Exception error, string requestId)
    {
        context.Response.StatusCode = error.Error.Status;
        if (HttpMethods.IsHead(context.Request.Method))
        {
            return;
        }

        // Errors carry no namespace.
        var document = new XElement(
            "Error",
            new XElement("Code", error.Error.Code),
            new XElement("Message", error.Message),
            new XElement("Resource", Printable(S3Uri.DecodedPath(context.Request))),
            new XElement("RequestId", requestId));
        byte[] body = Serialize(document);
        context.Response.ContentType = "application/xml";
        context.Response.ContentLength = body.Length;
        await context.Response.Body.WriteAsync(body, context.RequestAborted);
    }

    /// <summary>Parses a request's document: no DTD, no entities, no external anything.</summary>
    internal static XElement Parse(byte[] data)
    {
        try
        {
            using var reader = XmlReader.Create(new MemoryStream(data), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null });
            return XDocument.Load(reader).Root ?? throw new S3Exception(S3Error.MalformedXml);
        }
        catch (XmlException error)
        {
            throw new S3Exception(S3Error.MalformedXml, $"The XML you provided was not well-formed: {error.Message}");
        }
    }

    /// <summary>A child's text, whatever its namespace; clients send both.</summary>
    internal static string? Child(XElement parent, string name) => parent.Elements().FirstOrDefault(child => child.Name.LocalName == name)?.Value;

    internal static IEnumerable<XElement> Children(XElement parent, string name) => parent.Elements().Where(child => child.Name.LocalName == name);

    private static string Printable(string text) => string.Concat(text.Select(c => XmlConvert.IsXmlChar(c) ? c : '?'));

    private static byte[] Serialize(XElement document)
    {
        using var stream = new MemoryStream();
        using (var writer = XmlWriter.Create(stream, new XmlWriterSettings { Encoding = new UTF8Encoding(false), CheckCharacters = false }))
        {
            document.Save(writer);
        }

        return stream.ToArray();
    }
}
