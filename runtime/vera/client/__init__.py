"""A server's client: the calls of :class:`vera.Anonymizer`, over gRPC or HTTP."""
