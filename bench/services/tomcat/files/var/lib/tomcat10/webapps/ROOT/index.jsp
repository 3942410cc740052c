<%@ page contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" %>
It works, and it is ours.
